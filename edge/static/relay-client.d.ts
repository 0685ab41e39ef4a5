/** The types of relay-client.js: options, messages, and the states of a connection. */

/** A message of a topic. `data` is the payload of the emitter. */
export interface RelayMessage {
  type: string;
  topic: string;
  /** Any JSON value. */
  data: any;
  source?: string;
  /** Unix time in milliseconds, by the emitter's clock. */
  emitted_at?: number;
  /** The number in its stream; only events of journaled kinds have one. */
  offset?: number;
  /** The stream, where that is not the topic's kind: "addressed" of an event for this user alone. */
  stream?: string;
  /** True for a state from before this connection; it is not a new event. */
  retained?: boolean;
}

export interface TaskData extends Record<string, unknown> {
  /** Unfinished: in_progress, queued, running; the others are a task's last. */
  status:
    | "in_progress"
    | "success"
    | "error"
    | "queued"
    | "running"
    | "completed"
    | "failed"
    | "cancelled";
  message: string;
  result: unknown;
  username: string;
  /** From 0 to 1, if the task reports it. */
  progress?: number;
}

export interface TaskMessage extends RelayMessage {
  data: TaskData;
}

/** A refused request; the connection stays open. */
export interface RelayError {
  code: string;
  message: string;
  action?: string;
  topic?: string;
}

/**
 * The relay has another epoch: its journal is new, or may lack the last moments before a power
 * cut. Offsets of the two epochs cannot be compared, and events between them may be missing. A
 * plain restart of the relay keeps the epoch, and no event is missing.
 */
export interface RelayRestart {
  epoch: number | string;
  previousEpoch: number | string;
}

/** Lost events of a stream: the offsets from `from` to `to`, both included. */
export interface StreamGap {
  stream: string;
  from: number;
  to: number;
  /** `retention`: the journal has removed them. */
  reason: string;
}

/**
 * - `connecting`: opening, authenticating, subscribing, or catching up; missed events arrive in
 *   this state. `code` and `reason` tell why an earlier connection ended.
 * - `live`: authenticated, and the edge has answered every subscription.
 * - `waiting`: the connection is lost; the next try is at `retryAt` (Unix milliseconds).
 * - `unauthenticated`: the edge refused the credentials. `retry()` starts again.
 * - `closed`: `close()` was called, or the edge found a fault in this client (1002, 1003, 1007,
 *   1009).
 */
export type ConnectionState =
  | { name: "connecting"; code?: number; reason?: string }
  | { name: "live"; username: string }
  | { name: "waiting"; code: number; reason: string; retryAt: number }
  | { name: "unauthenticated"; code: number; reason: string }
  | { name: "closed"; code: number; reason: string };

/** The last offset that was received of each stream, and the epoch of these offsets. */
export interface StreamPosition {
  epoch: number | string | null;
  position: Record<string, number>;
}

/** The part of a WebSocket that the client uses. */
export interface WebSocketLike {
  readonly readyState: number;
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror?: ((event: any) => void) | null;
  send(text: string): void;
  close(): void;
}

export interface ConnectOptions {
  /** Default: `/ws` on the host that served the page. */
  url?: string;
  /** Returns a JWT. Called before every connection and before the token expires. Without this
   * function the client uses the cookie. */
  token?: () => string | Promise<string>;
  /** The longest usual delay between two tries, in milliseconds. Default 3000. */
  maxDelayMs?: number;
  /** The longest message of `publish` and `request`, in bytes; a longer one is refused here. Default
   * 65536, as `EDGE_MAX_MESSAGE_BYTES` of the edge, which would close the connection. */
  maxRequestBytes?: number;
  /** For environments without a global WebSocket, such as Node 20: the class of the package `ws`.
   * Without both, `connect` throws a TypeError. */
  WebSocket?: new (url: string) => WebSocketLike;
  /**
   * One connection for all tabs of this browser whose URL is the same, in a SharedWorker. A text
   * separates tabs that must not share one, such as those of different users. Where there is no
   * SharedWorker, or the script comes from another origin than the page, each tab has its own.
   */
  shared?: boolean | string;
}

export interface SubscribeOptions {
  /**
   * From 1 to 1000: begin with this number of the newest matching messages of each stream. They
   * come together, before the first live one, and include messages that other subscriptions have
   * brought before. The option takes effect once: after a lost connection a subscription resumes
   * at its position.
   */
  last?: number;
}

export interface CallOptions {
  /** From now to the outcome, and while there is no connection too. Default 30000, 3600000 at most. */
  timeoutMs?: number;
}

export interface PublishOptions extends CallOptions {
  /** The event's type, if it is not that of the topic's kind. */
  type?: string;
  /** The event is for this user alone. */
  username?: string;
}

/** An event that was taken. */
export interface PublishResult {
  /** Its id, if the edge has emitted it. */
  eventId?: string;
  /** The answer of the application in which the edge is, if that has taken it. */
  result?: any;
}

/**
 * - `not_connected`: there was no connection in time, or the client is closed. Nothing was sent.
 * - `connection_lost`, `timeout`: nobody knows whether it was acted on. It is not sent again.
 * - `too_large`: longer than `maxRequestBytes`. Nothing was sent.
 * - any other is a code of the edge, such as `forbidden`, `unknown_method`, or `failed` with the
 *   words of the function that has refused.
 */
export type CallErrorCode =
  | "not_connected"
  | "connection_lost"
  | "timeout"
  | "too_large"
  | "forbidden"
  | "unknown_method"
  | "failed"
  | (string & {});

/** The error of a `publish` or a `request`. */
export class RelayCallError extends Error {
  constructor(code: CallErrorCode, message: string);
  code: CallErrorCode;
}

export interface RelayClient {
  readonly state: ConnectionState;
  readonly position: StreamPosition;
  /**
   * Calls `handler` once for each message whose topic matches the pattern: a topic, a prefix that
   * ends in `*`, or `*` alone. Returns a function that removes the handler. Handlers of one pattern
   * share one subscription, which ends with the last of them. After a lost connection the
   * missed messages come first, in order.
   */
  subscribe(
    pattern: string,
    handler: (message: RelayMessage) => void,
    options?: SubscribeOptions,
  ): () => void;
  /**
   * Publishes `data`, any JSON value, on `topic`. Without a connection it waits for one. Rejects
   * with a `RelayCallError`.
   */
  publish(topic: string, data: unknown, options?: PublishOptions): Promise<PublishResult>;
  /**
   * Has `method` answered by the application or a manager, and returns the result. `params` is any
   * JSON value. The call reaches one process once or never. Rejects with a `RelayCallError`.
   */
  request(method: string, params?: unknown, options?: CallOptions): Promise<any>;
  /**
   * Calls `handler` with updates of the user's own tasks, which need no subscription: on connect
   * the latest state of each unfinished task, marked `retained`; after a lost connection the missed
   * updates.
   */
  onTask(handler: (message: TaskMessage) => void): () => void;
  /**
   * Calls `handler` with events of any topic that are for this user alone; they need no
   * subscription. After a lost connection the missed ones come first.
   */
  onAddressed(handler: (message: RelayMessage) => void): () => void;
  /** Calls `handler` at once with the present state, then at each change. */
  onState(handler: (state: ConnectionState) => void): () => void;
  /** Calls `handler` for each refused request. */
  onError(handler: (error: RelayError) => void): () => void;
  /**
   * Calls `handler` once for each new epoch of the relay, as soon as every subscription is live
   * under it, on the same connection or on a later one. At that moment a page should load again all data
   * that it keeps up to date by events.
   */
  onRestart(handler: (restart: RelayRestart) => void): () => void;
  /** Calls `handler` for lost events, before the events that follow them. */
  onGap(handler: (gap: StreamGap) => void): () => void;
  /** Connects now, after signing in again or instead of waiting. */
  retry(): void;
  /** Ends the connection for good. */
  close(): void;
}

export function connect(options?: ConnectOptions): RelayClient;

/** The URL of `/ws` on the host that served the page. */
export function defaultUrl(): string;

/** The reaction of the client to a close code. */
export type CloseAction = "stop" | "authenticate" | "renew" | "reconnect" | "spread" | "later";

export function closeAction(code: number): CloseAction;

/** The delay before try number `attempt` (from 0), in milliseconds. */
export function retryDelayMs(
  action: CloseAction,
  attempt: number,
  maxDelayMs: number,
  random?: () => number,
): number;

/** The delay in milliseconds that a close reason requests, times 1 to 2: clients must not all
 * return at once. Null if the reason requests none. */
export function toldDelayMs(reason: string, random?: () => number): number | null;

/** The delay in milliseconds before renewing a token that stays valid for `remainingMs`. */
export function renewDelayMs(remainingMs: number): number;

/** Whether a pattern (a topic, or a prefix that ends in `*`) matches a topic. */
export function topicMatches(pattern: string, topic: string): boolean;
