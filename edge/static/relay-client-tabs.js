// One connection for all tabs of a browser: this is the side of the tabs. A SharedWorker
// (relay-client-worker.js) holds the connection.

import { defaultUrl } from "./relay-client.js";

/**
 * @typedef {import("./relay-client.d.ts").RelayMessage} RelayMessage
 * @typedef {import("./relay-client.d.ts").TaskMessage} TaskMessage
 * @typedef {import("./relay-client.d.ts").RelayClient} RelayClient
 * @typedef {import("./relay-client.d.ts").ConnectOptions} ConnectOptions
 * @typedef {import("./relay-client.d.ts").ConnectionState} ConnectionState
 * @typedef {import("./relay-client.d.ts").StreamPosition} StreamPosition
 * @typedef {"task" | "addressed" | "state" | "error" | "restart" | "gap"} Topicless
 * @typedef {{pattern: string, handler: (message: RelayMessage) => void, last?: number}} Wanted
 */

/**
 * Returns a client that shares its connection, or null where that is not asked for or impossible:
 * without SharedWorker, or if the script comes from another origin than the page.
 * @param {ConnectOptions} options
 * @returns {RelayClient | null}
 */
export function connectShared(options) {
  if (!options.shared || options.WebSocket || typeof SharedWorker === "undefined") return null;
  const url = options.url ?? defaultUrl();
  // Tabs with another name have a connection of their own.
  const name = JSON.stringify(["event-relay", url, options.shared, options.token !== undefined]);
  try {
    const script = new URL("./relay-client-worker.js", import.meta.url);
    const worker = new SharedWorker(script, { type: "module", name });
    const client = new TabClient(worker.port, { ...options, url });
    worker.onerror = () => void client.fallBack();
    return client;
  } catch {
    return null;
  }
}

/** @implements {RelayClient} */
export class TabClient {
  /** @type {ConnectionState} */
  #state = { name: "connecting" };
  /** @type {StreamPosition} */
  #position = { epoch: null, position: {} };
  #options;
  #port;
  #nextId = 1;
  /** @type {Map<number, Wanted>} */
  #wanted = new Map();
  /** @type {Record<Topicless, Set<{handler: (value: any) => void}>>} */
  #listeners = {
    task: new Set(),
    addressed: new Set(),
    state: new Set(),
    error: new Set(),
    restart: new Set(),
    gap: new Set(),
  };
  #releaseLock = () => {};
  #leave = () => this.#send({ type: "bye" });
  #isClosed = false;
  #isAnswered = false;

  /** @param {MessagePort} port @param {ConnectOptions} options */
  constructor(port, options) {
    this.#options = options;
    this.#port = port;
    this.#begin(port);
    this.#holdLock();
    globalThis.addEventListener?.("pagehide", this.#leave);
  }

  get state() {
    return this.#state;
  }

  get position() {
    return this.#position;
  }

  /** @type {RelayClient["subscribe"]} */
  subscribe(pattern, handler, { last } = {}) {
    const id = this.#nextId++;
    this.#wanted.set(id, { pattern, handler, last });
    this.#send({ type: "subscribe", id, pattern, last });
    return () => {
      if (this.#wanted.delete(id)) this.#send({ type: "unsubscribe", id });
    };
  }

  /** @type {RelayClient["onTask"]} */
  onTask(handler) {
    const remove = this.#listen("task", handler);
    this.#send({ type: "tasks" });
    return remove;
  }

  /** @type {RelayClient["onAddressed"]} */
  onAddressed(handler) {
    return this.#listen("addressed", handler);
  }

  /** @type {RelayClient["onState"]} */
  onState(handler) {
    const remove = this.#listen("state", handler);
    handler(this.#state);
    return remove;
  }

  /** @type {RelayClient["onError"]} */
  onError(handler) {
    return this.#listen("error", handler);
  }

  /** @type {RelayClient["onRestart"]} */
  onRestart(handler) {
    return this.#listen("restart", handler);
  }

  /** @type {RelayClient["onGap"]} */
  onGap(handler) {
    return this.#listen("gap", handler);
  }

  retry() {
    this.#send({ type: "retry" });
  }

  close() {
    if (this.#isClosed) return;
    this.#leave();
    this.#isClosed = true;
    globalThis.removeEventListener?.("pagehide", this.#leave);
    this.#releaseLock();
    this.#port.close();
    this.#changeState({ name: "closed", code: 1000, reason: "Closed by this page" });
  }

  /** The worker's script cannot be loaded: hold the connection in this tab. */
  async fallBack() {
    if (this.#isAnswered || this.#isClosed) return;
    const { Hub } = await import("./relay-client-worker.js");
    const { port1, port2 } = new MessageChannel();
    new Hub().add(port1);
    this.#port.close();
    this.#port = port2;
    this.#begin(port2);
    for (const [id, { pattern, last }] of this.#wanted) {
      this.#send({ type: "subscribe", id, pattern, last });
    }
    if (this.#listeners.task.size > 0) this.#send({ type: "tasks" });
  }

  /** @param {MessagePort} port */
  #begin(port) {
    port.onmessage = ({ data }) => void this.#receive(data);
    const { url, maxDelayMs, token } = this.#options;
    this.#send({ type: "hello", url, maxDelayMs, hasToken: token !== undefined });
  }

  /** @param {unknown} message */
  #send(message) {
    if (!this.#isClosed) this.#port.postMessage(message);
  }

  /** @param {any} message */
  async #receive(message) {
    if (this.#isClosed) return;
    this.#isAnswered = true;
    if (message.position) this.#position = message.position;
    switch (message.type) {
      case "message":
        return this.#call(this.#wanted.get(message.id)?.handler, message.value);
      case "state":
        return this.#changeState(message.value);
      case "token":
        return this.#answerToken();
      default:
        return this.#notify(message.type, message.value);
    }
  }

  async #answerToken() {
    try {
      this.#send({ type: "token", token: await this.#options.token?.() });
    } catch (error) {
      this.#send({ type: "token", error: String(error) });
      throw error;
    }
  }

  /** @param {ConnectionState} state */
  #changeState(state) {
    this.#state = state;
    this.#notify("state", state);
  }

  /** @param {Topicless} type @param {(value: any) => void} handler */
  #listen(type, handler) {
    const entry = { handler };
    this.#listeners[type].add(entry);
    return () => void this.#listeners[type].delete(entry);
  }

  /** @param {Topicless} type @param {unknown} value */
  #notify(type, value) {
    for (const { handler } of [...(this.#listeners[type] ?? [])]) this.#call(handler, value);
  }

  /** @param {((value: any) => void) | undefined} handler @param {unknown} value */
  #call(handler, value) {
    try {
      handler?.(value);
    } catch (error) {
      if (typeof globalThis.reportError === "function") globalThis.reportError(error);
      else console.error(error);
    }
  }

  /** Holds a lock as long as this tab lives: a tab that crashes says no goodbye. Browsers have
   * locks on secure pages only; elsewhere the worker learns of a crash when the last tab ends. */
  #holdLock() {
    const lock = `event-relay ${crypto.randomUUID?.() ?? Math.random()}`;
    void globalThis.navigator?.locks?.request(lock, () => {
      this.#send({ type: "lock", lock });
      return new Promise((resolve) => (this.#releaseLock = () => resolve(undefined)));
    });
  }
}
