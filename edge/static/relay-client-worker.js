// One connection for all tabs of a browser: this is the SharedWorker that holds it. The tabs'
// subscriptions of one pattern share one at the edge, which ends with the last of them.

import { connect, topicMatches } from "./relay-client.js";

/**
 * @typedef {import("./relay-client.d.ts").RelayMessage} RelayMessage
 * @typedef {import("./relay-client.d.ts").RelayClient} RelayClient
 * @typedef {import("./relay-client.d.ts").ConnectOptions} ConnectOptions
 * @typedef {import("./relay-client.d.ts").RelayCallError} RelayCallError
 */

// The relay remembers as many unfinished tasks, and as many last values are kept.
const KNOWN = 10_000;
const FINAL_STATUSES = ["success", "error", "completed", "failed", "cancelled"];

/** One tab. */
class Tab {
  hasToken = false;
  /** @type {Map<number, {pattern: string, stop: () => void}>} */
  subscriptions = new Map();

  /** @param {MessagePort} port */
  constructor(port) {
    this.port = port;
  }
}

/** Keeps the newest entries. @param {Map<string, RelayMessage>} map @param {RelayMessage} message */
function remember(map, message) {
  map.delete(message.topic);
  map.set(message.topic, message);
  const [oldest = ""] = map.keys();
  if (map.size > KNOWN) map.delete(oldest);
}

export class Hub {
  /** @type {RelayClient | null} */
  #client = null;
  #options;
  /** @type {Set<Tab>} */
  #tabs = new Set();
  /** The newest values of live topics, for tabs that come later. @type {Map<string, RelayMessage>} */
  #values = new Map();
  /** The latest states of unfinished tasks, likewise. @type {Map<string, RelayMessage>} */
  #tasks = new Map();
  /** Tabs that were asked for a token and have not answered. @type {Set<Tab>} */
  #asked = new Set();
  /** @type {{resolve: (token: string) => void, reject: (error: Error) => void} | null} */
  #tokenWanted = null;

  /** @param {ConnectOptions} [options] options of the connection beside those of the first tab */
  constructor(options = {}) {
    this.#options = options;
  }

  /** @param {MessagePort} port of a new tab */
  add(port) {
    const tab = new Tab(port);
    this.#tabs.add(tab);
    port.onmessage = ({ data }) => this.#receive(tab, data);
  }

  /** @param {Tab} tab @param {any} message */
  #receive(tab, message) {
    if (!this.#tabs.has(tab)) return;
    switch (message.type) {
      case "hello":
        tab.hasToken = message.hasToken;
        this.#client ??= this.#connect(message);
        if (this.#tokenWanted) this.#askForToken(tab);
        this.#post(tab, "state", this.#client.state);
        break;
      case "subscribe":
        this.#subscribe(tab, message);
        break;
      case "unsubscribe":
        this.#unsubscribe(tab, message.id);
        break;
      case "call":
        void this.#call(tab, message);
        break;
      case "tasks":
        for (const task of this.#tasks.values()) {
          this.#post(tab, "task", { ...task, retained: true });
        }
        break;
      case "token":
        this.#tokenAnswered(tab, message);
        break;
      case "lock":
        void navigator.locks.request(message.lock, () => this.#remove(tab));
        break;
      case "retry":
        this.#client?.retry();
        break;
      case "bye":
        this.#remove(tab);
        break;
    }
  }

  /** @param {{url: string, maxDelayMs?: number, maxRequestBytes?: number, hasToken: boolean}} hello */
  #connect({ url, maxDelayMs, maxRequestBytes, hasToken }) {
    const token = hasToken ? () => this.#token() : undefined;
    const client = connect({ url, maxDelayMs, maxRequestBytes, token, ...this.#options });
    client.onState((state) => this.#tell("state", state));
    client.onRestart((restart) => this.#tell("restart", restart));
    client.onGap((gap) => this.#tell("gap", gap));
    client.onAddressed((message) => this.#tell("addressed", message));
    client.onTask((task) => {
      if (FINAL_STATUSES.includes(task.data?.status)) this.#tasks.delete(task.topic);
      else remember(this.#tasks, task);
      this.#tell("task", task);
    });
    client.onError((error) => {
      for (const tab of this.#tabs) {
        const patterns = [...tab.subscriptions.values()].map(({ pattern }) => pattern);
        const isConcerned = error.topic === undefined || patterns.includes(error.topic);
        if (isConcerned) this.#post(tab, "error", error);
      }
    });
    return client;
  }

  /** @param {Tab} tab @param {{id: number, pattern: string, last?: number}} request */
  #subscribe(tab, { id, pattern, last }) {
    if (!this.#client) return;
    // To the edge a pattern that another tab has is nothing new: it would send no last values.
    const isKnown = this.#patterns.includes(pattern);
    /** @param {RelayMessage} message */
    const pass = (message) => {
      if (message.offset === undefined) remember(this.#values, message);
      this.#post(tab, "message", message, id);
    };
    const stop = this.#client.subscribe(pattern, pass, { last });
    tab.subscriptions.set(id, { pattern, stop });
    if (!isKnown) return;
    for (const value of this.#values.values()) {
      if (topicMatches(pattern, value.topic)) {
        this.#post(tab, "message", { ...value, retained: true }, id);
      }
    }
  }

  /**
   * Publishes or requests for a tab. An error crosses the port as its code and its text.
   * @param {Tab} tab
   * @param {{id: number, name: "publish" | "request", arguments: any[]}} call
   */
  async #call(tab, { id, name, arguments: [target, value, options] }) {
    if (!this.#client) return;
    try {
      this.#post(tab, "outcome", { value: await this.#client[name](target, value, options) }, id);
    } catch (error) {
      const { code = "error", message } = /** @type {RelayCallError} */ (error);
      this.#post(tab, "outcome", { error: { code, message } }, id);
    }
  }

  /** @param {Tab} tab @param {number} id */
  #unsubscribe(tab, id) {
    tab.subscriptions.get(id)?.stop();
    tab.subscriptions.delete(id);
    const patterns = this.#patterns;
    for (const topic of this.#values.keys()) {
      // Nobody keeps it up to date any more.
      if (!patterns.some((pattern) => topicMatches(pattern, topic))) this.#values.delete(topic);
    }
  }

  get #patterns() {
    return [...this.#tabs].flatMap(({ subscriptions }) =>
      [...subscriptions.values()].map(({ pattern }) => pattern),
    );
  }

  /** @param {Tab} tab that is gone; the last one ends the connection */
  #remove(tab) {
    if (!this.#tabs.has(tab)) return;
    for (const id of [...tab.subscriptions.keys()]) this.#unsubscribe(tab, id);
    this.#tabs.delete(tab);
    tab.port.close();
    this.#tokenAnswered(tab, { error: "the tab is gone" });
    if (this.#tabs.size > 0) return;
    this.#client?.close();
    this.#client = null;
    this.#tasks.clear();
  }

  /**
   * Asks every tab for a token, since one in the background may sleep; the first one counts.
   * @returns {Promise<string>}
   */
  #token() {
    return new Promise((resolve, reject) => {
      this.#tokenWanted = { resolve, reject };
      this.#asked.clear();
      for (const tab of this.#tabs) this.#askForToken(tab);
    });
  }

  /** @param {Tab} tab */
  #askForToken(tab) {
    if (!tab.hasToken || this.#asked.has(tab)) return;
    this.#asked.add(tab);
    tab.port.postMessage({ type: "token" });
  }

  /** @param {Tab} tab @param {{token?: string, error?: string}} answer */
  #tokenAnswered(tab, { token, error }) {
    if (!this.#asked.delete(tab) || !this.#tokenWanted) return;
    if (token !== undefined) this.#tokenWanted.resolve(token);
    else if (this.#asked.size === 0) this.#tokenWanted.reject(new Error(error ?? "no token"));
    else return;
    this.#tokenWanted = null;
  }

  /** Posts to all tabs. @param {string} type @param {unknown} value */
  #tell(type, value) {
    for (const tab of this.#tabs) this.#post(tab, type, value);
  }

  /** @param {Tab} tab @param {string} type @param {unknown} value @param {number} [id] */
  #post(tab, type, value, id) {
    tab.port.postMessage({ type, value, id, position: this.#client?.position });
  }
}

if ("SharedWorkerGlobalScope" in globalThis) {
  const hub = new Hub();
  globalThis.addEventListener("connect", (event) => {
    const [port] = /** @type {MessageEvent} */ (event).ports;
    if (port) hub.add(port);
  });
}
