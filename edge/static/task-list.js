// The user's own tasks, newest first, each in its latest state. No DOM: tasks.js draws it.

/**
 * @typedef {import("./relay-client.js").TaskMessage} TaskMessage
 * @typedef {{
 *   id: string,
 *   status: string,
 *   message: string,
 *   result: unknown,
 *   progress: number | null,
 *   source: string,
 *   firstSeenAt: number,
 *   updatedAt: number,
 *   offset: number,
 * }} Task times in Unix milliseconds; `progress` from 0 to 1, null if the task reports none
 */

export const MAX_TASKS = 200;
const UNFINISHED = new Set(["in_progress", "queued", "running"]);

/** @param {string} status */
export function isUnfinished(status) {
  return UNFINISHED.has(status);
}

export class TaskList {
  #maxTasks;
  /** @type {Map<string, Task>} */
  #tasks = new Map();
  /** Whether there are older tasks that the list does not hold. */
  hasTooMany = false;

  constructor(maxTasks = MAX_TASKS) {
    this.#maxTasks = maxTasks;
  }

  get maxTasks() {
    return this.#maxTasks;
  }

  get tasks() {
    return [...this.#tasks.values()].sort(
      (a, b) => b.firstSeenAt - a.firstSeenAt || (a.id < b.id ? -1 : 1),
    );
  }

  get runningCount() {
    return [...this.#tasks.values()].filter((task) => isUnfinished(task.status)).length;
  }

  /**
   * @param {TaskMessage} message
   * @param {number} now Unix milliseconds
   * @returns {{task: Task, hasFinished: boolean} | null} null if the message is older than the
   *   known state
   */
  apply(message, now) {
    const known = this.#tasks.get(message.topic);
    const task = parseTask(message, now);
    if (known && !isNewer(task, known)) return null;
    if (known) task.firstSeenAt = known.firstSeenAt;
    this.#tasks.set(message.topic, task);
    this.#dropOldest();
    const wasUnfinished = known !== undefined && isUnfinished(known.status);
    return { task, hasFinished: wasUnfinished && !isUnfinished(task.status) };
  }

  clear() {
    this.#tasks.clear();
    this.hasTooMany = false;
  }

  #dropOldest() {
    if (this.#tasks.size <= this.#maxTasks) return;
    this.hasTooMany = true;
    const oldest = this.tasks.at(-1);
    if (oldest) this.#tasks.delete(`task:${oldest.id}`);
  }
}

/** @param {TaskMessage} message @param {number} now @returns {Task} */
function parseTask({ topic, data, source, emitted_at, offset }, now) {
  const { status, message, result = null, progress } = data;
  return {
    id: topic.slice("task:".length),
    status: String(status),
    message: String(message ?? ""),
    result,
    progress: typeof progress === "number" ? Math.min(1, Math.max(0, progress)) : null,
    source: source ?? "",
    firstSeenAt: emitted_at ?? now,
    updatedAt: emitted_at ?? now,
    offset: offset ?? 0,
  };
}

/**
 * Updates arrive in order, but the list from HTTP may be older than the last update. A task has one
 * emitter, so its clock orders them; within one millisecond the offsets decide.
 * @param {Task} task @param {Task} known
 */
function isNewer(task, known) {
  return task.updatedAt > known.updatedAt ||
    (task.updatedAt === known.updatedAt && task.offset > known.offset);
}
