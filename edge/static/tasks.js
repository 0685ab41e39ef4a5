// The user's own tasks on the page.

import { find, instantiate, oncePerFrame, setHidden, setText } from "./dom.js";
import { clockTime, counted, isoTime, wholeNumber } from "./format.js";
import { loadTasks } from "./session.js";
import { isUnfinished, TaskList } from "./task-list.js";

/**
 * @typedef {import("./relay-client.js").RelayClient} RelayClient
 * @typedef {import("./relay-client.js").TaskMessage} TaskMessage
 * @typedef {import("./task-list.js").Task} Task
 */

/** @type {ReadonlyMap<string, {text: string, tone: string}>} */
const STATUSES = new Map([
  ["in_progress", { text: "Running", tone: "busy" }],
  ["success", { text: "Done", tone: "good" }],
  ["error", { text: "Failed", tone: "bad" }],
  ["queued", { text: "Waiting", tone: "busy" }],
  ["running", { text: "Running", tone: "busy" }],
  ["completed", { text: "Done", tone: "good" }],
  ["failed", { text: "Failed", tone: "bad" }],
  ["cancelled", { text: "Cancelled", tone: "quiet" }],
]);

export class Tasks {
  #list = new TaskList();
  /** @type {Map<string, HTMLElement>} */
  #cards = new Map();
  #host = find(document, "#task-list", HTMLElement);
  #empty = find(document, "#tasks-empty", HTMLElement);
  #summary = find(document, "#tasks-summary", HTMLElement);
  #news = find(document, "#task-news", HTMLElement);
  /** @type {RelayClient | null} */
  #client = null;
  #draw = oncePerFrame(() => this.#render());

  /** @param {RelayClient} client */
  start(client) {
    this.#client = client;
    client.onTask((message) => this.#apply(message));
    // Only the list has tasks that ended before, or whose updates are lost.
    client.onState((state) => {
      if (state.name === "live") void this.#load(client);
    });
    client.onRestart(() => void this.#load(client));
    client.onGap((gap) => {
      if (gap.stream === "task") void this.#load(client);
    });
  }

  clear() {
    this.#client = null;
    this.#list.clear();
    setText(this.#news, "");
    this.#draw();
  }

  /** @param {RelayClient} client */
  async #load(client) {
    try {
      const messages = await loadTasks();
      if (client === this.#client) for (const message of messages) this.#apply(message);
    } catch (error) {
      console.error("My tasks could not be loaded", error);
    }
  }

  /** @param {TaskMessage} message */
  #apply(message) {
    const change = this.#list.apply(message, Date.now());
    if (!change) return;
    if (change.hasFinished) {
      setText(this.#news, `${statusOf(change.task).text}: ${change.task.message}`);
    }
    this.#draw();
  }

  #render() {
    const { tasks, runningCount, hasTooMany, maxTasks } = this.#list;
    const ids = new Set(tasks.map((task) => task.id));
    for (const [id, card] of this.#cards) {
      if (ids.has(id)) continue;
      card.remove();
      this.#cards.delete(id);
    }
    for (const [index, task] of tasks.entries()) {
      const card = this.#cards.get(task.id) ?? instantiate("task-template");
      this.#cards.set(task.id, card);
      renderTask(card, task);
      const present = this.#host.children[index];
      if (present !== card) this.#host.insertBefore(card, present ?? null);
    }
    const counts = `${counted(tasks.length, "task")}, ${runningCount} running`;
    const bound = hasTooMany ? `; only the newest ${wholeNumber(maxTasks)} are shown` : "";
    setText(this.#summary, tasks.length > 0 ? counts + bound : "");
    setHidden(this.#empty, tasks.length > 0);
  }
}

/** @param {Task} task */
function statusOf(task) {
  return STATUSES.get(task.status) ?? { text: task.status, tone: "quiet" };
}

/** @param {HTMLElement} card @param {Task} task */
function renderTask(card, task) {
  const { text, tone } = statusOf(task);
  card.dataset.taskId = task.id;
  card.dataset.status = task.status;
  find(card, ".task-status", HTMLElement).dataset.tone = tone;
  setText(find(card, ".task-status-text", HTMLElement), text);
  setText(find(card, ".task-message", HTMLElement), task.message);
  setText(find(card, ".task-origin", HTMLElement), `${task.source} · ${task.id}`);
  const time = find(card, "time", HTMLTimeElement);
  setText(time, clockTime(task.updatedAt));
  time.dateTime = isoTime(task.updatedAt);
  renderProgress(find(card, "progress", HTMLProgressElement), task);
  const result = find(card, ".task-result", HTMLElement);
  setText(result, resultText(task.result));
  setHidden(result, result.textContent === "");
}

/** @param {HTMLProgressElement} bar @param {Task} task */
function renderProgress(bar, task) {
  const isDone = task.status === "success" || task.status === "completed";
  const isFailed = !isDone && !isUnfinished(task.status);
  const value = isDone ? 1 : task.progress;
  if (value === null) bar.removeAttribute("value");
  else bar.value = value;
  bar.setAttribute("aria-label", `Progress of ${task.message}`);
  setHidden(bar, isFailed && task.progress === null);
}

/** @param {unknown} result */
function resultText(result) {
  if (result === null || result === undefined) return "";
  return typeof result === "string" ? result : JSON.stringify(result, null, 2);
}
