// The server cards on the page, and their subscriptions to readings.
//
// A manager samples a server only while somebody watches it. So a card subscribes to its readings
// only while it is in view and the tab is visible.

import { LineChart } from "./chart.js";
import { steadyNow } from "./clock.js";
import { find, instantiate, oncePerFrame, setHidden, setText } from "./dom.js";
import { counted, decimal } from "./format.js";
import { parseReading, ReadingWindow } from "./readings.js";
import { cardView } from "./server-card.js";
import { momentOf, resourceTopic, ServerList } from "./server-list.js";

/**
 * @typedef {import("./relay-client.js").RelayClient} RelayClient
 * @typedef {import("./relay-client.js").RelayMessage} RelayMessage
 * @typedef {import("./server-list.js").Server} Server
 * @typedef {import("./server-card.js").HeardReading} HeardReading
 */

const TICK_MS = 500;

export class Servers {
  #list = new ServerList();
  /** @type {Map<string, ServerCard>} */
  #cards = new Map();
  /** @type {RelayClient | null} */
  #client = null;
  #liveSince = 0;
  #host = find(document, "#server-cards", HTMLElement);
  #empty = find(document, "#servers-empty", HTMLElement);
  #summary = find(document, "#servers-summary", HTMLElement);
  #views = new IntersectionObserver((entries) => this.#onViews(entries), { rootMargin: "80px" });
  #draw = oncePerFrame(() => this.#render());

  constructor() {
    document.addEventListener("visibilitychange", () => this.#watchVisible());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", this.#draw);
    setInterval(() => this.#client && this.#draw(), TICK_MS);
  }

  /** @param {RelayClient} client */
  start(client) {
    this.#client = client;
    client.onState((state) => {
      if (state.name === "live") this.#liveSince = steadyNow();
    });
    client.subscribe("event:*", (message) => this.#apply(message));
  }

  clear() {
    for (const card of this.#cards.values()) card.remove();
    this.#cards.clear();
    this.#list.clear();
    this.#views.disconnect();
    this.#client = null;
    this.#draw();
  }

  /** @param {RelayMessage} message */
  #apply(message) {
    const named = this.#list.apply(message, steadyNow());
    for (const { name } of named) {
      if (!this.#cards.has(name)) this.#addCard(name);
    }
    if (named.length > 0) this.#draw();
  }

  /** @param {string} name */
  #addCard(name) {
    const card = new ServerCard(name, this.#draw);
    this.#cards.set(name, card);
    const names = this.#list.servers.map((server) => server.name);
    const following = names.slice(names.indexOf(name) + 1).find((other) => this.#cards.has(other));
    const next = following === undefined ? null : this.#cards.get(following)?.element;
    this.#host.insertBefore(card.element, next ?? null);
    this.#views.observe(card.element);
  }

  /** @param {IntersectionObserverEntry[]} entries */
  #onViews(entries) {
    for (const entry of entries) {
      for (const card of this.#cards.values()) {
        if (card.element === entry.target) card.isInView = entry.isIntersecting;
      }
    }
    this.#watchVisible();
  }

  #watchVisible() {
    const isPageVisible = document.visibilityState === "visible";
    for (const card of this.#cards.values()) {
      if (isPageVisible && card.isInView && this.#client) card.watch(this.#client);
      else card.unwatch();
    }
    this.#draw();
  }

  #render() {
    const now = steadyNow();
    for (const [name, card] of this.#cards) {
      const server = this.#list.get(name);
      if (server) card.render(server, this.#liveSince, now);
    }
    const count = this.#cards.size;
    const hidden = this.#list.hasTooMany ? ", more are not shown" : "";
    setText(this.#summary, count > 0 ? `${counted(count, "server")}${hidden}` : "");
    setHidden(this.#empty, count > 0);
  }
}

class ServerCard {
  element = instantiate("server-card-template");
  isInView = false;

  #name;
  #onReading;
  #status = find(this.element, ".server-status", HTMLElement);
  #statusText = find(this.element, ".server-status-text", HTMLElement);
  #origin = find(this.element, ".server-origin", HTMLElement);
  #note = find(this.element, ".server-note", HTMLElement);
  #cpu = new Meter(this.element, "cpu", "CPU", "%", 5);
  #memory = new Meter(this.element, "memory", "Memory", "MB", 10);

  #window = new ReadingWindow();
  /** @type {HeardReading | null} */
  #latest = null;
  /** @type {(() => void) | null} */
  #unsubscribe = null;
  /** @type {number | null} */
  #watchedSince = null;

  /** @param {string} name @param {() => void} onReading */
  constructor(name, onReading) {
    this.#name = name;
    this.#onReading = onReading;
    this.element.dataset.server = name;
    setText(find(this.element, ".server-name", HTMLElement), name);
  }

  /** @param {RelayClient} client */
  watch(client) {
    if (this.#unsubscribe) return;
    this.#watchedSince = steadyNow();
    this.#unsubscribe = client.subscribe(resourceTopic(this.#name), (message) =>
      this.#read(message),
    );
  }

  unwatch() {
    this.#unsubscribe?.();
    this.#unsubscribe = null;
    this.#watchedSince = null;
  }

  remove() {
    this.unwatch();
    this.#cpu.destroy();
    this.#memory.destroy();
    this.element.remove();
  }

  /** @param {RelayMessage} message */
  #read(message) {
    // The relay sends the last value again to every new subscription.
    const { emitted_at } = message;
    if (emitted_at !== undefined && emitted_at === this.#latest?.moment.emittedAt) return;
    const now = steadyNow();
    const reading = parseReading(message.data);
    this.#latest = { reading, moment: momentOf(message, now) };
    this.#window.add(reading, now / 1000);
    this.#onReading();
  }

  /**
   * @param {Server} server
   * @param {number} listeningSince the time when the connection became live, Unix milliseconds
   * @param {number} now Unix milliseconds
   */
  render(server, listeningSince, now) {
    const heard = { latest: this.#latest, watchedSince: this.#watchedSince, listeningSince };
    const { status, tone, reading, pid, note } = cardView(server, heard, now);
    setText(this.#statusText, status);
    this.#status.dataset.tone = tone;
    const uptime = reading?.uptime;
    const facts = [server.manager, pid === null ? "" : `pid ${pid}`, uptime ? `up ${uptime}` : ""];
    setText(this.#origin, facts.filter(Boolean).join(" · "));
    setText(this.#note, note);
    this.element.dataset.stale = String(note !== "");

    this.#cpu.show(reading?.cpuPercent);
    this.#memory.show(reading?.memoryMb);
    if (this.#watchedSince === null) return;
    const { times, cpu, memory } = this.#window;
    this.#cpu.draw(this.#name, times, cpu, now);
    this.#memory.draw(this.#name, times, memory, now);
  }
}

/** A number and its chart. */
class Meter {
  #value;
  #chartHost;
  #label;
  #unit;
  #colour;
  #leastTop;
  /** @type {LineChart | null} made at the first drawing: the card has no width before */
  #chart = null;

  /**
   * @param {HTMLElement} card
   * @param {"cpu" | "memory"} kind
   * @param {string} label
   * @param {string} unit
   * @param {number} leastTop of the chart's axis
   */
  constructor(card, kind, label, unit, leastTop) {
    this.#value = find(card, `.${kind}-value`, HTMLElement);
    this.#chartHost = find(card, `.${kind}-chart`, HTMLElement);
    this.#colour = `--${kind}`;
    this.#label = label;
    this.#unit = unit;
    this.#leastTop = leastTop;
  }

  /** @param {number | undefined} latest undefined for none */
  show(latest) {
    setText(this.#value, latest === undefined ? "–" : decimal(latest));
  }

  /**
   * @param {string} server
   * @param {number[]} times
   * @param {(number | null)[]} values
   * @param {number} now Unix milliseconds
   */
  draw(server, times, values, now) {
    this.#chart ??= new LineChart(
      this.#chartHost,
      this.#colour,
      this.#unit,
      this.#leastTop,
    );
    this.#chart.update(times, values, now / 1000);
    const highest = values.reduce((most, value) => Math.max(most ?? 0, value ?? 0), 0) ?? 0;
    const latest = this.#value.textContent;
    const nowText = latest === "–" ? "unknown" : `${latest} ${this.#unit}`;
    this.#chartHost.setAttribute(
      "aria-label",
      `${this.#label} of ${server} over the last two minutes: now ${nowText}, ` +
        `highest ${decimal(highest)} ${this.#unit}`,
    );
  }

  destroy() {
    this.#chart?.destroy();
  }
}
