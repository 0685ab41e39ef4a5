// One connection for all tabs of a browser: this is the side of the tabs. A SharedWorker
// (relay-client-worker.js) holds the connection.

import { checkedTimeoutMs, RelayCallError } from "./relay-client-calls.js";
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
 * @typedef {{call: Record<string, unknown>, resolve: (value: any) => void,
 *   reject: (error: RelayCallError) => void}} Pending
 */

// A worker that crashes answers nothing: after this time beyond its own, a call has failed.
const WORKER_DELAY_MS = 1_000;

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
  /** Calls without an outcome. @type {Map<number, Pending>} */
  #pending = new Map();
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

  /** @type {RelayClient["publish"]} */
  publish(topic, data, options = {}) {
    return this.#call({ name: "publish", arguments: [topic, data, options] }, options.timeoutMs);
  }

  /** @type {RelayClient["request"]} */
  request(method, params, options = {}) {
    return this.#call({ name: "request", arguments: [method, params, options] }, options.timeoutMs);
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
    for (const id of [...this.#pending.keys()]) {
      const told = "the client is closed: nobody knows whether the call was acted on";
      this.#outcome(id, { error: { code: "connection_lost", message: told } });
    }
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
    // The worker never ran, so nothing was sent.
    for (const [id, { call }] of this.#pending) this.#send({ type: "call", id, ...call });
  }

  /** @param {MessagePort} port */
  #begin(port) {
    port.onmessage = ({ data }) => void this.#receive(data);
    const { url, maxDelayMs, maxRequestBytes, token } = this.#options;
    const hasToken = token !== undefined;
    this.#send({ type: "hello", url, maxDelayMs, maxRequestBytes, hasToken });
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
        return this.#pass(this.#wanted.get(message.id)?.handler, message.value);
      case "outcome":
        return this.#outcome(message.id, message.value);
      case "state":
        return this.#changeState(message.value);
      case "token":
        return this.#answerToken();
      default:
        return this.#notify(message.type, message.value);
    }
  }

  /**
   * Lets the worker's client publish or request.
   * @param {{name: "publish" | "request", arguments: unknown[]}} call
   * @param {number | undefined} timeoutMs
   */
  async #call(call, timeoutMs) {
    const allowedMs = checkedTimeoutMs(timeoutMs);
    if (this.#isClosed) throw new RelayCallError("not_connected", "the client is closed");
    const id = this.#nextId++;
    // A port takes values that are no JSON, and refuses others that are.
    const plain = JSON.parse(JSON.stringify(call));
    const outcome = new Promise((resolve, reject) => {
      this.#pending.set(id, { call: plain, resolve, reject });
    });
    const late = { error: { code: "timeout", message: "The worker has not answered" } };
    const timer = setTimeout(() => this.#outcome(id, late), allowedMs + WORKER_DELAY_MS);
    this.#send({ type: "call", id, ...plain });
    try {
      return await outcome;
    } finally {
      clearTimeout(timer);
    }
  }

  /** @param {number} id @param {{value?: any, error?: {code: string, message: string}}} outcome */
  #outcome(id, { value, error }) {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    if (error) pending?.reject(new RelayCallError(error.code, error.message));
    else pending?.resolve(value);
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
    for (const { handler } of [...(this.#listeners[type] ?? [])]) this.#pass(handler, value);
  }

  /** @param {((value: any) => void) | undefined} handler @param {unknown} value */
  #pass(handler, value) {
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
