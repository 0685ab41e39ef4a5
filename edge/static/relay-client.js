// A browser's connection to Event Relay: authenticates, subscribes, and comes back after a loss.
//
// Owns the WebSocket protocol of docs/protocol.md as a client sees it, and nothing of any page.
// No dependencies: this file alone is enough. Its types are in relay-client.d.ts.

/**
 * @typedef {import("./relay-client.d.ts").RelayMessage} RelayMessage
 * @typedef {import("./relay-client.d.ts").TaskMessage} TaskMessage
 * @typedef {import("./relay-client.d.ts").RelayError} RelayError
 * @typedef {import("./relay-client.d.ts").RelayRestart} RelayRestart
 * @typedef {import("./relay-client.d.ts").ConnectionState} ConnectionState
 * @typedef {import("./relay-client.d.ts").ConnectOptions} ConnectOptions
 * @typedef {import("./relay-client.d.ts").RelayClient} RelayClient
 * @typedef {import("./relay-client.d.ts").CloseAction} CloseAction
 * @typedef {{action: string, topic?: string, token?: string}} Request
 */

const BASE_DELAY_MS = 250;
const DEFAULT_MAX_DELAY_MS = 3_000;
// A server that sends many clients away at once should not see all of them again at once.
const SPREAD_MS = 1_000;
const ATTEMPT_TIMEOUT_MS = 10_000;
// The server says `position` every 20 s; two of them missed means nobody is there.
const SILENCE_LIMIT_MS = 45_000;
const SILENCE_CHECK_MS = 5_000;
const RENEW_AHEAD_MS = 30_000;
const RENEW_AT_LEAST_MS = 5_000;
const LONGEST_TIMEOUT_MS = 2 ** 31 - 1;
const ABNORMAL_CLOSURE = 1006;

/** @type {ReadonlyMap<number, CloseAction>} */
const CLOSE_ACTIONS = new Map([
  [1001, "spread"],
  [1003, "stop"],
  [1007, "stop"],
  [1008, "authenticate"],
  [1009, "stop"],
  [4001, "renew"],
  [4008, "reconnect"],
  [4009, "later"],
  [4013, "spread"],
  [4029, "later"],
]);

/** @type {typeof import("./relay-client.d.ts").closeAction} */
export function closeAction(code) {
  return CLOSE_ACTIONS.get(code) ?? "reconnect";
}

/** @type {typeof import("./relay-client.d.ts").retryDelayMs} */
export function retryDelayMs(action, attempt, maxDelayMs, random = Math.random) {
  if (action === "later") return maxDelayMs * (1 + random());
  const least = action === "spread" ? SPREAD_MS : BASE_DELAY_MS;
  const ceiling = Math.min(maxDelayMs, Math.max(least, BASE_DELAY_MS * 2 ** attempt));
  return random() * ceiling;
}

/** @type {typeof import("./relay-client.d.ts").renewDelayMs} */
export function renewDelayMs(expiresAt, nowMs) {
  const remainingMs = expiresAt * 1000 - nowMs;
  const aheadMs = Math.min(RENEW_AHEAD_MS, remainingMs / 5);
  return Math.min(LONGEST_TIMEOUT_MS, Math.max(RENEW_AT_LEAST_MS, remainingMs - aheadMs));
}

/** @type {typeof import("./relay-client.d.ts").topicMatches} */
export function topicMatches(pattern, topic) {
  return pattern.endsWith("*") ? topic.startsWith(pattern.slice(0, -1)) : topic === pattern;
}

/** @type {typeof import("./relay-client.d.ts").connect} */
export function connect(options = {}) {
  return new Client(options);
}

/** @param {unknown} error */
function report(error) {
  if (typeof globalThis.reportError === "function") globalThis.reportError(error);
  else console.error(error);
}

/**
 * Listeners that cannot harm each other: one that throws is reported, and the others still run.
 * @template T
 */
class Listeners {
  /** @type {Set<{handler: (value: T) => void}>} */
  #entries = new Set();

  get size() {
    return this.#entries.size;
  }

  /**
   * @param {(value: T) => void} handler
   * @returns {() => boolean} removes it; false when it had been removed before
   */
  add(handler) {
    const entry = { handler };
    this.#entries.add(entry);
    return () => this.#entries.delete(entry);
  }

  /** @param {T} value */
  tell(value) {
    for (const { handler } of [...this.#entries]) {
      try {
        handler(value);
      } catch (error) {
        report(error);
      }
    }
  }
}

/** Which handlers want which topics. A message is matched here, because the server sends one that
 * several subscriptions match only once. */
class Subscriptions {
  /** @type {Map<string, Listeners<RelayMessage>>} */
  #byPattern = new Map();

  get patterns() {
    return [...this.#byPattern.keys()];
  }

  /**
   * @param {string} pattern
   * @param {(message: RelayMessage) => void} handler
   * @returns {{isFirst: boolean, remove: () => boolean}} `remove` is true when nobody is left
   */
  add(pattern, handler) {
    const known = this.#byPattern.get(pattern);
    const listeners = known ?? new Listeners();
    if (!known) this.#byPattern.set(pattern, listeners);
    const removeHandler = listeners.add(handler);
    const remove = () => {
      const wasLast = removeHandler() && listeners.size === 0;
      if (wasLast) this.#byPattern.delete(pattern);
      return wasLast;
    };
    return { isFirst: !known, remove };
  }

  /** @param {RelayMessage} message */
  dispatch(message) {
    for (const [pattern, listeners] of [...this.#byPattern]) {
      if (topicMatches(pattern, message.topic)) listeners.tell(message);
    }
  }
}

/** How far the streams have been seen: what a resuming subscription would name as its `since`. */
class SeenPosition {
  /** @type {number | string | null} */
  epoch = null;
  /** @type {Record<string, number>} */
  position = {};

  /**
   * From a subscribe reply or a `position` message.
   * @param {{epoch?: unknown, position?: unknown}} message
   * @returns {RelayRestart | null} when another epoch was known before
   */
  adopt({ epoch, position }) {
    if (typeof epoch !== "number" && typeof epoch !== "string") return null;
    const previousEpoch = this.epoch;
    if (epoch !== previousEpoch) this.position = {};
    this.epoch = epoch;
    for (const [stream, offset] of Object.entries(position ?? {})) this.#advance(stream, offset);
    return previousEpoch === null || previousEpoch === epoch ? null : { epoch, previousEpoch };
  }

  /** @param {RelayMessage} message */
  passed(message) {
    if (message.offset === undefined) return;
    this.#advance(message.topic.slice(0, message.topic.indexOf(":")), message.offset);
  }

  /** @param {string} stream @param {unknown} offset */
  #advance(stream, offset) {
    if (typeof offset !== "number") return;
    this.position[stream] = Math.max(offset, this.position[stream] ?? 0);
  }
}

/** @implements {RelayClient} */
class Client {
  #url;
  #askToken;
  #maxDelayMs;
  #WebSocket;

  #subscriptions = new Subscriptions();
  #seen = new SeenPosition();
  /** @type {Listeners<TaskMessage>} */
  #taskListeners = new Listeners();
  /** @type {Listeners<ConnectionState>} */
  #stateListeners = new Listeners();
  /** @type {Listeners<RelayError>} */
  #errorListeners = new Listeners();
  /** @type {Listeners<RelayRestart>} */
  #restartListeners = new Listeners();
  #stopWakeups = new AbortController();

  /** @type {ConnectionState} */
  #state = { name: "connecting" };
  /** @type {WebSocket | null} */
  #socket = null;
  /** Counts connections, so that what an older one still waits for can be told from ours. */
  #generation = 0;
  #failedAttempts = 0;
  #tokenWasRefused = false;
  #username = "";
  #isAuthenticated = false;
  #heardAt = 0;

  #nextRequestId = 1;
  /** @type {Map<number, Request>} */
  #unanswered = new Map();
  /** @type {Set<string>} */
  #refusedPatterns = new Set();

  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retryTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #attemptTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #renewTimer;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #silenceTimer;

  /** @param {ConnectOptions} options */
  constructor(options) {
    this.#url = options.url ?? `${location.origin.replace(/^http/, "ws")}/ws`;
    this.#askToken = options.token;
    this.#maxDelayMs = options.maxDelayMs ?? DEFAULT_MAX_DELAY_MS;
    this.#WebSocket = options.WebSocket ?? globalThis.WebSocket;
    this.#listenForWakeups();
    void this.#open();
  }

  get state() {
    return this.#state;
  }

  get position() {
    return { epoch: this.#seen.epoch, position: { ...this.#seen.position } };
  }

  /** @param {string} pattern @param {(message: RelayMessage) => void} handler */
  subscribe(pattern, handler) {
    const { isFirst, remove } = this.#subscriptions.add(pattern, handler);
    if (isFirst && this.#isAuthenticated) this.#request({ action: "subscribe", topic: pattern });
    return () => {
      if (!remove() || !this.#isAuthenticated) return;
      const wasRefused = this.#refusedPatterns.delete(pattern);
      if (!wasRefused) this.#request({ action: "unsubscribe", topic: pattern });
    };
  }

  /** @param {(message: TaskMessage) => void} handler */
  onTask(handler) {
    const remove = this.#taskListeners.add(handler);
    return () => void remove();
  }

  /** @param {(state: ConnectionState) => void} handler */
  onState(handler) {
    const remove = this.#stateListeners.add(handler);
    handler(this.#state);
    return () => void remove();
  }

  /** @param {(error: RelayError) => void} handler */
  onError(handler) {
    const remove = this.#errorListeners.add(handler);
    return () => void remove();
  }

  /** @param {(restart: RelayRestart) => void} handler */
  onRestart(handler) {
    const remove = this.#restartListeners.add(handler);
    return () => void remove();
  }

  retry() {
    if (this.#stopWakeups.signal.aborted || this.#socket) return;
    this.#tokenWasRefused = false;
    void this.#open();
  }

  close() {
    if (this.#stopWakeups.signal.aborted) return;
    this.#stopWakeups.abort();
    this.#letGo();
    this.#setState({ name: "closed", code: 1000, reason: "Closed by this page" });
  }

  // ---- The life of one connection: open, authenticate, subscribe, live, lost ----

  async #open() {
    this.#letGo();
    const generation = this.#generation;
    const before = this.#state;
    const { code, reason } = before.name === "live" ? {} : before;
    this.#setState({ name: "connecting", ...(code === undefined ? {} : { code, reason }) });
    this.#attemptTimer = setTimeout(
      () => this.#lost(ABNORMAL_CLOSURE, "No answer"),
      ATTEMPT_TIMEOUT_MS,
    );

    // Asked for first: once the socket is open, the server waits only 5 s for the token.
    const token = await this.#freshToken(generation);
    if (token === null) return;
    const socket = new this.#WebSocket(this.#url);
    this.#socket = socket;
    socket.onopen = () => this.#request({ action: "authenticate", token });
    socket.onmessage = (event) => this.#receive(event.data);
    socket.onclose = (event) => this.#lost(event.code, event.reason);
    this.#heardAt = Date.now();
    this.#silenceTimer = setInterval(() => this.#checkSilence(), SILENCE_CHECK_MS);
  }

  /**
   * @param {number} generation
   * @returns {Promise<string | null>} null when it could not be had, or comes too late to matter
   */
  async #freshToken(generation) {
    if (!this.#askToken) return "";
    try {
      const token = await this.#askToken();
      return generation === this.#generation ? token : null;
    } catch (error) {
      report(error);
      if (generation === this.#generation && this.#state.name !== "live") {
        this.#lost(ABNORMAL_CLOSURE, "No token");
      }
      return null;
    }
  }

  /** @param {Record<string, unknown>} reply */
  #authenticated(reply) {
    this.#username = String(reply.username ?? "");
    if (typeof reply.expires_at === "number") this.#scheduleRenewal(reply.expires_at);
    if (this.#isAuthenticated) return;
    this.#isAuthenticated = true;
    for (const pattern of this.#subscriptions.patterns) {
      this.#request({ action: "subscribe", topic: pattern });
    }
    this.#liveWhenAnswered();
  }

  #liveWhenAnswered() {
    if (this.#state.name === "live" || !this.#isAuthenticated || this.#unanswered.size > 0) return;
    clearTimeout(this.#attemptTimer);
    this.#failedAttempts = 0;
    this.#tokenWasRefused = false;
    this.#setState({ name: "live", username: this.#username });
  }

  /** @param {number} code @param {string} reason */
  #lost(code, reason) {
    this.#letGo();
    const action = closeAction(code);
    if (action === "stop") {
      this.#setState({ name: "closed", code, reason });
    } else if (action === "authenticate" && (!this.#askToken || this.#tokenWasRefused)) {
      this.#setState({ name: "unauthenticated", code, reason });
    } else {
      if (action === "authenticate") this.#tokenWasRefused = true;
      const delayMs = retryDelayMs(action, this.#failedAttempts, this.#maxDelayMs);
      this.#failedAttempts += 1;
      this.#retryTimer = setTimeout(() => void this.#open(), delayMs);
      this.#setState({ name: "waiting", code, reason, retryAt: Date.now() + delayMs });
    }
  }

  /** Forgets the present connection and all that waits for it. */
  #letGo() {
    this.#generation += 1;
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#attemptTimer);
    clearTimeout(this.#renewTimer);
    clearInterval(this.#silenceTimer);
    this.#isAuthenticated = false;
    this.#unanswered.clear();
    this.#refusedPatterns.clear();
    const socket = this.#socket;
    if (!socket) return;
    this.#socket = null;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  // ---- Messages ----

  /** @param {Request} request */
  #request(request) {
    if (this.#socket?.readyState !== 1) return;
    const id = this.#nextRequestId++;
    this.#unanswered.set(id, request);
    this.#socket.send(JSON.stringify({ ...request, id }));
  }

  /** @param {unknown} text */
  #receive(text) {
    this.#heardAt = Date.now();
    let message;
    try {
      message = JSON.parse(String(text));
    } catch (error) {
      report(error);
      return;
    }
    if (typeof message.topic === "string" && typeof message.type === "string") {
      this.#deliver(message);
    } else if (message.type === "position") {
      this.#adopt(message);
    } else if (typeof message.status === "string") {
      this.#answered(message);
    }
  }

  /** @param {Record<string, unknown>} message with an epoch and a position */
  #adopt(message) {
    const restart = this.#seen.adopt(message);
    if (restart) this.#restartListeners.tell(restart);
  }

  /** @param {RelayMessage} message */
  #deliver(message) {
    this.#seen.passed(message);
    if (message.topic.startsWith("task:")) {
      this.#taskListeners.tell(/** @type {TaskMessage} */ (message));
    }
    this.#subscriptions.dispatch(message);
  }

  /** @param {Record<string, unknown>} reply */
  #answered(reply) {
    const id = Number(reply.id);
    const request = this.#unanswered.get(id);
    this.#unanswered.delete(id);
    if (reply.status === "error") this.#refused(request, reply);
    else if (reply.action === "authenticate") this.#authenticated(reply);
    else if (reply.action === "subscribe") this.#adopt(reply);
    this.#liveWhenAnswered();
  }

  /** @param {Request | undefined} request @param {Record<string, unknown>} reply */
  #refused(request, reply) {
    if (request?.action === "subscribe" && request.topic) this.#refusedPatterns.add(request.topic);
    this.#errorListeners.tell({
      code: String(reply.code ?? "error"),
      message: String(reply.message ?? ""),
      action: request?.action,
      topic: request?.topic,
    });
  }

  // ---- Time: tokens that end, connections that fall silent, pages that wake up ----

  /** @param {number} expiresAt */
  #scheduleRenewal(expiresAt) {
    clearTimeout(this.#renewTimer);
    if (!this.#askToken) return;
    const delayMs = renewDelayMs(expiresAt, Date.now());
    this.#renewTimer = setTimeout(() => void this.#renew(), delayMs);
  }

  async #renew() {
    const token = await this.#freshToken(this.#generation);
    if (token !== null) this.#request({ action: "authenticate", token });
  }

  #checkSilence() {
    if (this.#socket && Date.now() - this.#heardAt > SILENCE_LIMIT_MS) {
      this.#lost(ABNORMAL_CLOSURE, "The server fell silent");
    }
  }

  #listenForWakeups() {
    const signal = this.#stopWakeups.signal;
    const wakeUp = () => {
      if (this.#state.name === "waiting") void this.#open();
      else this.#checkSilence();
    };
    globalThis.addEventListener?.("online", wakeUp, { signal });
    globalThis.document?.addEventListener(
      "visibilitychange",
      () => document.visibilityState === "visible" && wakeUp(),
      { signal },
    );
  }

  /** @param {ConnectionState} state */
  #setState(state) {
    this.#state = state;
    this.#stateListeners.tell(state);
  }
}
