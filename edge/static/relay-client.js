// A browser's connection to Event Relay: authenticates and subscribes; after a lost connection it
// reconnects and resumes at its position.
//
// Implements the client side of the WebSocket protocol (docs/protocol.md, section 7), and knows
// nothing of any page. It has no dependencies. Its types are in relay-client.d.ts.
// relay-client-tabs.js lets the tabs of a browser share one connection.

import { Calls, publication, published } from "./relay-client-calls.js";
import { connectShared } from "./relay-client-tabs.js";

export { RelayCallError } from "./relay-client-calls.js";

/**
 * @typedef {import("./relay-client.d.ts").RelayMessage} RelayMessage
 * @typedef {import("./relay-client.d.ts").TaskMessage} TaskMessage
 * @typedef {import("./relay-client.d.ts").RelayError} RelayError
 * @typedef {import("./relay-client.d.ts").RelayRestart} RelayRestart
 * @typedef {import("./relay-client.d.ts").StreamGap} StreamGap
 * @typedef {import("./relay-client.d.ts").ConnectionState} ConnectionState
 * @typedef {import("./relay-client.d.ts").ConnectOptions} ConnectOptions
 * @typedef {import("./relay-client.d.ts").RelayClient} RelayClient
 * @typedef {import("./relay-client.d.ts").CloseAction} CloseAction
 * @typedef {Record<string, number>} Offsets by stream
 * @typedef {{action: string, topic?: string, token?: string, epoch?: number | string | null,
 *   since?: Offsets, more?: boolean, last?: number}} Request
 */

const BASE_DELAY_MS = 250;
const DEFAULT_MAX_DELAY_MS = 3_000;
// If an edge closes many clients at once, they must not all return at once.
const SPREAD_MS = 1_000;
const ATTEMPT_TIMEOUT_MS = 10_000;
// A resume may be silent for so long, while the edge reads events that are not for this client.
const CATCH_UP_TIMEOUT_MS = 45_000;
// The edge sends `position` every 20 s. After this silence the client asks whether it is there.
const SILENCE_LIMIT_MS = 30_000;
const SILENCE_CHECK_MS = 5_000;
const PROBE_TOPIC = "event:is-anybody-there";
const RENEW_AHEAD_MS = 30_000;
const RENEW_AT_LEAST_MS = 5_000;
const LONGEST_TIMEOUT_MS = 2 ** 31 - 1;
const ABNORMAL_CLOSURE = 1006;
// The relay remembers as many unfinished tasks.
const KNOWN_TASKS = 10_000;

/** @type {ReadonlyMap<number, CloseAction>} */
const CLOSE_ACTIONS = new Map([
  [1001, "spread"],
  [1002, "stop"],
  [1003, "stop"],
  [1007, "stop"],
  [1008, "authenticate"],
  [1009, "stop"],
  [1012, "spread"],
  [1013, "spread"],
  [4001, "renew"],
  [4003, "authenticate"],
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

/** @type {typeof import("./relay-client.d.ts").toldDelayMs} */
export function toldDelayMs(reason, random = Math.random) {
  const told = /\bretry in (\d+) s\b/.exec(reason)?.[1];
  return told === undefined ? null : Number(told) * 1000 * (1 + random());
}

/** @type {typeof import("./relay-client.d.ts").renewDelayMs} */
export function renewDelayMs(remainingMs) {
  const aheadMs = Math.min(RENEW_AHEAD_MS, remainingMs / 5);
  return Math.min(LONGEST_TIMEOUT_MS, Math.max(RENEW_AT_LEAST_MS, remainingMs - aheadMs));
}

/**
 * The time for which a token stays valid. By the clock of this machine only if the edge is too old
 * to tell a duration. Null if the reply tells neither.
 * @param {Record<string, unknown>} reply
 */
function remainingTimeMs({ expires_in, expires_at }) {
  if (typeof expires_in === "number") return expires_in * 1000;
  return typeof expires_at === "number" ? expires_at * 1000 - Date.now() : null;
}

/** @type {typeof import("./relay-client.d.ts").topicMatches} */
export function topicMatches(pattern, topic) {
  if (!pattern.endsWith("*")) return topic === pattern;
  // To a prefix, a topic that is a kind alone has a colon.
  return (topic.includes(":") ? topic : `${topic}:`).startsWith(pattern.slice(0, -1));
}

/** @type {typeof import("./relay-client.d.ts").connect} */
export function connect(options = {}) {
  return connectShared(options) ?? new Client(options);
}

/** The `/ws` of the edge that serves this module, under any prefix; in a package, that of the page.
 * @returns {string} */
export function defaultUrl() {
  const served = /^(https?:.*\/)static\/relay-client\.js/.exec(import.meta.url);
  const base = served?.[1] ?? `${location.origin}/`;
  return `${base.replace(/^http/, "ws")}ws`;
}

/** @param {unknown} error */
function report(error) {
  if (typeof globalThis.reportError === "function") globalThis.reportError(error);
  else console.error(error);
}

/**
 * Handlers that cannot harm each other: if one throws, the error is reported and the others run.
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
   * @returns {() => boolean} removes the handler; returns false if it was already removed
   */
  add(handler) {
    const entry = { handler };
    this.#entries.add(entry);
    return () => this.#entries.delete(entry);
  }

  /** @param {T} value */
  notify(value) {
    for (const { handler } of [...this.#entries]) {
      try {
        handler(value);
      } catch (error) {
        report(error);
      }
    }
  }
}

/** The stream of an event: of a topic's kind, but all events for one user are in a stream of their own.
 * @param {RelayMessage} message */
function streamOf({ topic, stream }) {
  return stream ?? topic.split(":", 1)[0] ?? "";
}

/** Streams whose events come without a subscription, and so without `since`. */
const PERSONAL_STREAMS = ["task", "addressed"];

/** Whether the pattern can match topics of the stream.
 * @param {string} pattern @param {string} stream */
function canMatch(pattern, stream) {
  if (pattern === stream || pattern.startsWith(`${stream}:`)) return true;
  return pattern.endsWith("*") && `${stream}:`.startsWith(pattern.slice(0, -1));
}

/**
 * In stream order and each once: a message may have come through another subscription before.
 * @param {RelayMessage[]} backlog
 */
function inStreamOrder(backlog) {
  backlog.sort(
    (a, b) => streamOf(a).localeCompare(streamOf(b)) || (a.offset ?? 0) - (b.offset ?? 0),
  );
  return backlog.filter((message, index) => {
    const before = backlog[index - 1];
    return !before || before.offset !== message.offset || streamOf(before) !== streamOf(message);
  });
}

/** A handler that asks for the newest messages of a pattern whose subscription is confirmed. */
class Newcomer {
  /** @type {"idle" | "requested"} */
  state = "idle";
  /** @type {Listeners<RelayMessage>} */
  listeners = new Listeners();
  /** @type {RelayMessage[]} */
  backlog = [];
  /** Makes it a handler like the others. */
  settle = () => {};

  /** @param {number} last */
  constructor(last) {
    this.last = last;
  }

  replied() {
    for (const message of inStreamOrder(this.backlog)) this.listeners.notify(message);
    this.settle();
  }
}

/** One pattern, its handlers, and the state of its request at the edge. */
class Subscription {
  /** @type {Listeners<RelayMessage>} */
  listeners = new Listeners();
  /** Handlers that wait for their newest messages. @type {Set<Newcomer>} */
  newcomers = new Set();
  /** Whether the edge has ever confirmed it: then it resumes on the next connection. */
  isConfirmed = false;
  /** On the present connection. @type {"idle" | "requested" | "refused"} */
  state = "idle";
  /** Messages requested with `last`, held until the reply. @type {RelayMessage[] | null} */
  #backlog = null;

  /** @param {string} pattern @param {number | undefined} last */
  constructor(pattern, last) {
    this.pattern = pattern;
    this.last = last;
  }

  /** Whether no handler is left. */
  get isUnheard() {
    return this.listeners.size === 0 && this.newcomers.size === 0;
  }

  /** The next newcomer to request for. @returns {Newcomer | undefined} */
  get idleNewcomer() {
    if (!this.isConfirmed || this.#backlog) return undefined;
    return [...this.newcomers].find(({ state }) => state === "idle");
  }

  /**
   * @param {(message: RelayMessage) => void} handler
   * @param {number} [last]
   * @returns {() => boolean} removes the handler; returns false if it was already removed
   */
  add(handler, last) {
    if (last === undefined || last === this.last) return this.listeners.add(handler);
    const newcomer = new Newcomer(last);
    this.newcomers.add(newcomer);
    newcomer.listeners.add(handler);
    const settle = { remove: () => this.newcomers.delete(newcomer) };
    newcomer.settle = () => {
      if (this.newcomers.delete(newcomer)) settle.remove = this.listeners.add(handler);
    };
    return () => settle.remove();
  }

  /** @param {Request} request */
  requested({ last }) {
    this.state = "requested";
    this.#backlog = last === undefined ? null : [];
  }

  connectionLost() {
    this.state = "idle";
    this.#backlog = null;
    for (const newcomer of this.newcomers) {
      newcomer.state = "idle";
      newcomer.backlog = [];
    }
  }

  ended() {
    this.state = "refused";
    this.isConfirmed = false;
  }

  /**
   * Passes a message to the handlers, or holds it. Before the subscription is confirmed, events of
   * streams reach it only through other subscriptions, with holes between them: they are dropped.
   * @param {RelayMessage} message
   * @param {boolean} isRepeat
   */
  deliver(message, isRepeat) {
    for (const newcomer of this.newcomers) {
      if (message.offset === undefined) newcomer.listeners.notify(message);
      else if (newcomer.state === "requested") newcomer.backlog.push(message);
    }
    if (this.#backlog && message.offset !== undefined) this.#backlog.push(message);
    else if (isRepeat) return;
    else if (this.isConfirmed || message.offset === undefined) this.listeners.notify(message);
  }

  /**
   * The handlers get the backlog only now. If the connection is lost in the middle of a backlog,
   * they therefore get no message twice. Messages that came through other subscriptions meanwhile
   * are sorted into stream order; one that came before the edge read the request comes again with
   * the answer to it.
   * @param {boolean} isGranted
   */
  replied(isGranted) {
    this.isConfirmed = isGranted;
    if (isGranted) this.last = undefined;
    else this.state = "refused";
    const backlog = this.#backlog ?? [];
    this.#backlog = null;
    for (const message of inStreamOrder(backlog)) this.listeners.notify(message);
  }
}

/** The subscriptions of this client, by pattern. Matching happens here, because the edge sends a
 * message once even if several subscriptions match it. */
class Subscriptions {
  /** @type {Map<string, Subscription>} */
  #byPattern = new Map();

  get idle() {
    return [...this.#byPattern.values()].filter(({ state }) => state === "idle");
  }

  /**
   * @param {string} pattern
   * @param {(message: RelayMessage) => void} handler
   * @param {number} [last]
   */
  add(pattern, handler, last) {
    const subscription = this.#byPattern.get(pattern) ?? new Subscription(pattern, last);
    this.#byPattern.set(pattern, subscription);
    const removeHandler = subscription.add(handler, last);
    /** @returns {boolean} whether this was the last handler */
    const remove = () => {
      const wasLast = removeHandler() && subscription.isUnheard;
      if (wasLast) this.#byPattern.delete(pattern);
      return wasLast;
    };
    return { subscription, remove };
  }

  /** @returns {[Subscription, Newcomer][]} newcomers to request for, one of each pattern */
  get newcomers() {
    return [...this.#byPattern.values()].flatMap((subscription) => {
      const newcomer = subscription.idleNewcomer;
      return newcomer ? [[subscription, newcomer]] : [];
    });
  }

  /** The edge has ended a subscription: role or rules no longer allow it.
   * @param {string} pattern */
  ended(pattern) {
    this.#byPattern.get(pattern)?.ended();
  }

  /** Requests refused subscriptions again: the user's role may have changed. */
  retryRefused() {
    for (const subscription of this.#byPattern.values()) {
      if (subscription.state === "refused") subscription.state = "idle";
    }
  }

  /** @param {RelayMessage} message @param {boolean} isRepeat */
  dispatch(message, isRepeat) {
    for (const subscription of [...this.#byPattern.values()]) {
      const isMatch = topicMatches(subscription.pattern, message.topic);
      if (isMatch) subscription.deliver(message, isRepeat);
    }
  }

  connectionLost() {
    for (const subscription of this.#byPattern.values()) subscription.connectionLost();
  }
}

/** The newest update of each task that handlers got: an older retained state must not follow it. */
class KnownTasks {
  /** @type {Map<string, number>} */
  #offsets = new Map();

  /** @param {RelayMessage} message */
  has({ topic, offset = 0 }) {
    return (this.#offsets.get(topic) ?? -1) >= offset;
  }

  /** @param {RelayMessage} message */
  add({ topic, offset = 0 }) {
    this.#offsets.delete(topic);
    this.#offsets.set(topic, offset);
    if (this.#offsets.size <= KNOWN_TASKS) return;
    const [oldest = ""] = this.#offsets.keys();
    this.#offsets.delete(oldest);
  }

  clear() {
    this.#offsets.clear();
  }
}

/** The position of this client: the offset in each stream at which the next connection resumes. */
class SeenPosition {
  /** @type {number | string | null} */
  epoch = null;
  /** @type {Offsets} */
  position = {};

  /**
   * Takes over epoch and position of a subscribe reply or a `position` message.
   * @param {{epoch?: unknown, position?: unknown}} message
   * @param {{keepsKnown?: boolean}} [options] with `keepsKnown` the offsets of known streams stay
   * @returns {RelayRestart | null} the change of epoch, if another one was known before
   */
  adopt({ epoch, position }, { keepsKnown = false } = {}) {
    if (typeof epoch !== "number" && typeof epoch !== "string") return null;
    const previousEpoch = this.epoch;
    if (epoch !== previousEpoch) this.position = {};
    this.epoch = epoch;
    for (const [stream, offset] of Object.entries(position ?? {})) {
      if (!(keepsKnown && stream in this.position)) this.advance(stream, offset);
    }
    return previousEpoch === null || previousEpoch === epoch ? null : { epoch, previousEpoch };
  }

  /**
   * Advances the position, if an epoch is known: without one an offset means nothing.
   * @param {string} stream
   * @param {unknown} offset
   */
  advance(stream, offset) {
    if (this.epoch === null || typeof offset !== "number") return;
    this.position[stream] = Math.max(offset, this.position[stream] ?? 0);
  }

  /** @param {string} stream @param {number | undefined} offset */
  isBeyond(stream, offset) {
    return offset === undefined || offset > (this.position[stream] ?? 0);
  }

  /** @param {string} pattern @returns {Offsets | null} null if no known stream can match it */
  since(pattern) {
    const matching = Object.entries(this.position).filter(([stream]) => canMatch(pattern, stream));
    return matching.length > 0 ? Object.fromEntries(matching) : null;
  }
}

/** @implements {RelayClient} */
class Client {
  #url;
  #getToken;
  #maxDelayMs;
  #WebSocket;

  #subscriptions = new Subscriptions();
  #seen = new SeenPosition();
  #knownTasks = new KnownTasks();
  /** A change of epoch that handlers have not been told. It waits until all subscriptions are live:
   * a page that loads its data again before that would have a hole.
   * @type {RelayRestart | null} */
  #restart = null;
  /** @type {Listeners<TaskMessage>} */
  #taskListeners = new Listeners();
  /** @type {Listeners<RelayMessage>} */
  #addressedListeners = new Listeners();
  /** @type {Listeners<ConnectionState>} */
  #stateListeners = new Listeners();
  /** @type {Listeners<RelayError>} */
  #errorListeners = new Listeners();
  /** @type {Listeners<RelayRestart>} */
  #restartListeners = new Listeners();
  /** @type {Listeners<StreamGap>} */
  #gapListeners = new Listeners();
  #stopWakeups = new AbortController();
  /** What the page publishes and requests. @type {Calls} */
  #calls;

  /** @type {ConnectionState} */
  #state = { name: "connecting" };
  /** @type {import("./relay-client.d.ts").WebSocketLike | null} */
  #socket = null;
  /** The number of the connection. A token that was requested for an earlier one is ignored. */
  #generation = 0;
  #failedAttempts = 0;
  #tokenWasRefused = false;
  #username = "";
  #isAuthenticated = false;
  /** Whether the edge has named its epoch on this connection. */
  #isEpochKnown = false;
  /** By the monotonic clock: the clock of the day may be set at any time. */
  #heardAt = 0;

  #nextRequestId = 1;
  /** @type {Map<number, {request: Request, subscription?: Subscription, newcomer?: Newcomer}>} */
  #unanswered = new Map();

  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retryTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #attemptTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #renewTimer;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #silenceTimer;
  /** Set while the client waits for any message after it has asked whether the edge is there.
   * @type {ReturnType<typeof setTimeout> | undefined} */
  #probeTimer;

  /** @param {ConnectOptions} options */
  constructor(options) {
    this.#url = options.url ?? defaultUrl();
    this.#getToken = options.token;
    this.#maxDelayMs = options.maxDelayMs ?? DEFAULT_MAX_DELAY_MS;
    this.#calls = new Calls(options.maxRequestBytes);
    this.#WebSocket = options.WebSocket ?? globalThis.WebSocket;
    if (!this.#WebSocket) {
      throw new TypeError("WebSocket: this environment has none; pass one as an option");
    }
    this.#listenForWakeups();
    void this.#open();
  }

  get state() {
    return this.#state;
  }

  get position() {
    return { epoch: this.#seen.epoch, position: { ...this.#seen.position } };
  }

  /**
   * @param {string} pattern
   * @param {(message: RelayMessage) => void} handler
   * @param {import("./relay-client.d.ts").SubscribeOptions} [options]
   */
  subscribe(pattern, handler, { last } = {}) {
    const { subscription, remove } = this.#subscriptions.add(pattern, handler, last);
    this.#subscribe();
    return () => {
      if (!remove() || subscription.state !== "requested") return;
      this.#request({ action: "unsubscribe", topic: pattern });
    };
  }

  /** @type {RelayClient["publish"]} */
  async publish(topic, data, options = {}) {
    const request = publication(topic, data, options);
    return published(await this.#calls.perform(request, options.timeoutMs));
  }

  /** @type {RelayClient["request"]} */
  async request(method, params, { timeoutMs } = {}) {
    const request = { action: "request", method, params };
    return (await this.#calls.perform(request, timeoutMs)).result;
  }

  /** @param {(message: TaskMessage) => void} handler */
  onTask(handler) {
    const remove = this.#taskListeners.add(handler);
    return () => void remove();
  }

  /** @param {(message: RelayMessage) => void} handler */
  onAddressed(handler) {
    const remove = this.#addressedListeners.add(handler);
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

  /** @param {(gap: StreamGap) => void} handler */
  onGap(handler) {
    const remove = this.#gapListeners.add(handler);
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
    this.#disconnect();
    this.#calls.close();
    this.#setState({ name: "closed", code: 1000, reason: "Closed by this page" });
  }

  // ---- The life of one connection: open, authenticate, resume, subscribe, live, lost ----

  async #open() {
    this.#disconnect();
    const generation = this.#generation;
    const before = this.#state;
    const { code, reason } = before.name === "live" ? {} : before;
    this.#setState({ name: "connecting", ...(code === undefined ? {} : { code, reason }) });
    this.#startMessageTimeout();

    // The token comes before the socket: once that is open, the edge waits only 5 s for the token.
    const token = await this.#freshToken(generation);
    if (token === null) return;
    /** @type {import("./relay-client.d.ts").WebSocketLike} */
    const socket = new this.#WebSocket(this.#address());
    this.#socket = socket;
    socket.onopen = () => {
      this.#startMessageTimeout();
      this.#request({ action: "authenticate", token });
    };
    socket.onmessage = (event) => this.#receive(event.data);
    socket.onclose = (event) => this.#connectionLost(event.code, event.reason);
    // What it says comes again as a close. The package `ws` ends the process if nobody listens.
    socket.onerror = () => {};
    this.#heardAt = performance.now();
    this.#silenceTimer = setInterval(() => this.#checkSilence(), SILENCE_CHECK_MS);
  }

  /**
   * Starts the deadline for the next message of a connection that is not live yet. The deadline is
   * longer while the edge may be reading missed events of which few or none are for this client.
   */
  #startMessageTimeout() {
    const mayCatchUp = this.#socket?.readyState === 1 && this.#seen.epoch !== null;
    clearTimeout(this.#attemptTimer);
    this.#attemptTimer = setTimeout(
      () => this.#connectionLost(ABNORMAL_CLOSURE, "No answer"),
      mayCatchUp ? CATCH_UP_TIMEOUT_MS : ATTEMPT_TIMEOUT_MS,
    );
  }

  /** The URL. It carries the position in the streams that have no subscription. */
  #address() {
    const { epoch, position } = this.#seen;
    const since = PERSONAL_STREAMS.filter((stream) => position[stream] !== undefined)
      .map((stream) => `&${stream}=${position[stream]}`)
      .join("");
    if (epoch === null || since === "") return this.#url;
    return `${this.#url}${this.#url.includes("?") ? "&" : "?"}epoch=${epoch}${since}`;
  }

  /**
   * @param {number} generation
   * @returns {Promise<string | null>} null if there is none, or if the connection has changed
   */
  async #freshToken(generation) {
    if (!this.#getToken) return "";
    try {
      const token = await this.#getToken();
      return generation === this.#generation ? token : null;
    } catch (error) {
      report(error);
      if (generation === this.#generation && this.#state.name !== "live") {
        this.#connectionLost(ABNORMAL_CLOSURE, "No token");
      }
      return null;
    }
  }

  /** @param {Record<string, unknown>} reply */
  #authenticationReplied(reply) {
    this.#username = String(reply.username ?? "");
    const remainingMs = remainingTimeMs(reply);
    if (remainingMs !== null) this.#scheduleRenewal(remainingMs);
    this.#isAuthenticated = true;
    this.#subscriptions.retryRefused();
  }

  /**
   * Requests every subscription that this connection has not requested yet. Subscriptions of an
   * earlier connection come first and catch up together. New ones wait for that: their live events
   * would come in the middle of older ones, and the position of their reply would skip those.
   */
  #subscribe() {
    if (!this.#isAuthenticated) return;
    const { epoch } = this.#seen;
    const fresh = [];
    const resumed = [];
    for (const subscription of this.#subscriptions.idle) {
      const since = this.#seen.since(subscription.pattern);
      if (!since) this.#sendSubscribe(subscription, { last: subscription.last });
      else if (subscription.isConfirmed) resumed.push({ subscription, since });
      else fresh.push(subscription);
    }
    for (const [index, { subscription, since }] of resumed.entries()) {
      const more = index < resumed.length - 1 ? true : undefined;
      this.#sendSubscribe(subscription, { since, epoch, more });
    }
    if (this.#isCatchingUp()) return;
    for (const each of fresh) this.#sendSubscribe(each, { last: each.last });
    for (const [{ pattern }, newcomer] of this.#subscriptions.newcomers) {
      newcomer.state = "requested";
      const request = { action: "subscribe", topic: pattern, last: newcomer.last };
      this.#request(request, { newcomer });
    }
  }

  /** @param {Subscription} subscription @param {Omit<Request, "action">} options */
  #sendSubscribe(subscription, options) {
    const request = { action: "subscribe", topic: subscription.pattern, ...options };
    subscription.requested(request);
    this.#request(request, { subscription });
  }

  #isCatchingUp() {
    return [...this.#unanswered.values()].some(({ request }) => request.since !== undefined);
  }

  #becomeLiveWhenReplied() {
    if (!this.#isAuthenticated || this.#unanswered.size > 0) return;
    if (this.#state.name !== "live") {
      clearTimeout(this.#attemptTimer);
      this.#failedAttempts = 0;
      this.#tokenWasRefused = false;
      this.#setState({ name: "live", username: this.#username });
    }
    this.#reportRestart();
  }

  #reportRestart() {
    const restart = this.#restart;
    if (!restart || this.#state.name !== "live" || this.#unanswered.size > 0) return;
    this.#restart = null;
    this.#restartListeners.notify(restart);
  }

  /** @param {number} code @param {string} reason */
  #connectionLost(code, reason) {
    this.#disconnect();
    const action = closeAction(code);
    if (action === "stop") {
      this.#calls.close();
      this.#setState({ name: "closed", code, reason });
    } else if (action === "authenticate" && (!this.#getToken || this.#tokenWasRefused)) {
      this.#setState({ name: "unauthenticated", code, reason });
    } else {
      if (action === "authenticate") this.#tokenWasRefused = true;
      const delayMs =
        toldDelayMs(reason) ?? retryDelayMs(action, this.#failedAttempts, this.#maxDelayMs);
      this.#failedAttempts += 1;
      this.#retryTimer = setTimeout(() => void this.#open(), delayMs);
      this.#setState({ name: "waiting", code, reason, retryAt: Date.now() + delayMs });
    }
  }

  /** Closes and forgets the present connection, its timers and its unanswered requests. */
  #disconnect() {
    this.#generation += 1;
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#attemptTimer);
    clearTimeout(this.#renewTimer);
    clearInterval(this.#silenceTimer);
    this.#endProbe();
    this.#isAuthenticated = false;
    this.#isEpochKnown = false;
    this.#unanswered.clear();
    this.#subscriptions.connectionLost();
    this.#calls.connectionLost();
    const socket = this.#socket;
    if (!socket) return;
    this.#socket = null;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  // ---- Messages ----

  /**
   * @param {Request} request
   * @param {{subscription?: Subscription, newcomer?: Newcomer}} [requester]
   */
  #request(request, requester) {
    if (this.#socket?.readyState !== 1) return;
    const id = this.#nextRequestId++;
    this.#unanswered.set(id, { request, ...requester });
    this.#sendNow({ ...request, id });
  }

  /** @param {Record<string, unknown>} message */
  #sendNow(message) {
    if (this.#socket?.readyState === 1) this.#socket.send(JSON.stringify(message));
  }

  /** @param {unknown} text */
  #receive(text) {
    this.#heardAt = performance.now();
    if (this.#state.name !== "live") this.#startMessageTimeout();
    else if (this.#probeTimer !== undefined) this.#endProbe();
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
      // During a catch-up the position may be ahead of the events that are still to come.
      this.#adopt(message, { keepsKnown: this.#state.name !== "live" });
    } else if (message.type === "gap") {
      this.#gapReceived(message);
    } else if (typeof message.status === "string") {
      this.#replied(message);
    }
  }

  /**
   * @param {Record<string, unknown>} message with an epoch and a position
   * @param {{keepsKnown?: boolean}} [options]
   */
  #adopt(message, options) {
    const restart = this.#seen.adopt(message, options);
    this.#isEpochKnown ||= message.epoch !== undefined;
    if (!restart) return;
    this.#knownTasks.clear();
    const { previousEpoch } = this.#restart ?? restart;
    this.#restart = { epoch: restart.epoch, previousEpoch };
    this.#reportRestart();
  }

  /** @param {RelayMessage} message */
  #deliver(message) {
    const stream = streamOf(message);
    // These alone come before the epoch is known; under another epoch their offsets mean nothing.
    const isComparable = this.#isEpochKnown || !PERSONAL_STREAMS.includes(stream);
    // A retained state is no event of the stream: its offset and the position are unrelated.
    const isKnown = message.retained
      ? this.#knownTasks.has(message)
      : !this.#seen.isBeyond(stream, message.offset);
    const isRepeat = isComparable && isKnown;
    if (!message.retained) this.#seen.advance(stream, message.offset);
    if (stream === "task" && !isRepeat) {
      this.#knownTasks.add(message);
      this.#taskListeners.notify(/** @type {TaskMessage} */ (message));
    } else if (stream === "addressed" && !isRepeat) {
      this.#addressedListeners.notify(message);
    }
    this.#subscriptions.dispatch(message, isRepeat);
  }

  /** @param {StreamGap} gap */
  #gapReceived({ stream, from, to, reason }) {
    if (!this.#seen.isBeyond(stream, to)) return;
    this.#seen.advance(stream, to);
    this.#gapListeners.notify({ stream, from, to, reason });
  }

  /** @param {Record<string, unknown>} reply */
  #replied(reply) {
    if (this.#calls.replied(reply)) return;
    const id = Number(reply.id);
    const { request, subscription, newcomer } = this.#unanswered.get(id) ?? {};
    this.#unanswered.delete(id);
    const isGranted = reply.status !== "error";
    if (!isGranted) this.#refused(request, reply);
    else if (reply.action === "authenticate") this.#authenticationReplied(reply);
    else if (reply.action === "subscribe") this.#adopt(reply);
    subscription?.replied(isGranted);
    newcomer?.replied();
    this.#subscribe();
    // After the subscriptions, so that a page hears what it publishes.
    if (this.#isAuthenticated) this.#calls.opened((call) => this.#sendNow(call));
    this.#becomeLiveWhenReplied();
  }

  /** @param {Request | undefined} request @param {Record<string, unknown>} reply */
  #refused(request, reply) {
    const topic = request ? request.topic : reply.topic;
    if (!request && typeof topic === "string") this.#subscriptions.ended(topic);
    this.#errorListeners.notify({
      code: String(reply.code ?? "error"),
      message: String(reply.message ?? ""),
      action: request?.action,
      topic: typeof topic === "string" ? topic : undefined,
    });
  }

  // ---- Time: tokens that expire, connections that fall silent, pages that wake up ----

  /** @param {number} remainingMs */
  #scheduleRenewal(remainingMs) {
    clearTimeout(this.#renewTimer);
    if (!this.#getToken) return;
    this.#renewTimer = setTimeout(() => void this.#renew(), renewDelayMs(remainingMs));
  }

  async #renew() {
    const token = await this.#freshToken(this.#generation);
    if (token !== null) this.#request({ action: "authenticate", token });
  }

  #checkSilence() {
    if (performance.now() - this.#heardAt >= SILENCE_LIMIT_MS) this.#probe();
  }

  /**
   * Asks whether the edge is there. Silence alone is no proof of a dead connection: the page may
   * have been frozen, with the messages of that time still to be delivered.
   */
  #probe() {
    if (this.#state.name !== "live" || this.#probeTimer !== undefined) return;
    this.#request({ action: "unsubscribe", topic: PROBE_TOPIC });
    this.#probeTimer = setTimeout(
      () => this.#connectionLost(ABNORMAL_CLOSURE, "The server fell silent"),
      ATTEMPT_TIMEOUT_MS,
    );
  }

  #endProbe() {
    clearTimeout(this.#probeTimer);
    this.#probeTimer = undefined;
  }

  #listenForWakeups() {
    const signal = this.#stopWakeups.signal;
    const wakeUp = () => {
      if (this.#state.name === "waiting") void this.#open();
      // Both clocks may have stood still while the machine slept.
      else this.#probe();
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
    this.#stateListeners.notify(state);
  }
}
