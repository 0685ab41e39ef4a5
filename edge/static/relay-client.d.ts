/** The types of relay-client.js: what goes in, what comes out, and the states between. */

/** A message from the relay that carries a topic. `data` is whatever the emitter sent. */
export interface RelayMessage {
  type: string;
  topic: string;
  data: Record<string, unknown>;
  source?: string;
  /** Unix time in milliseconds, by the emitter's clock. */
  emitted_at?: number;
  /** Place in its stream; only journaled kinds have one. */
  offset?: number;
  /** A state that was reached before this connection began, not something that happened now. */
  retained?: boolean;
}

export interface TaskData extends Record<string, unknown> {
  status: "in_progress" | "success" | "error";
  message: string;
  result: unknown;
  username: string;
  /** From 0 to 1, when the task tells it. */
  progress?: number;
}

export interface TaskMessage extends RelayMessage {
  data: TaskData;
}

/** A request that the relay refused; the connection stays open. */
export interface RelayError {
  code: string;
  message: string;
  action?: string;
  topic?: string;
}

/**
 * The relay has another epoch: its journal is a new one, or may lack the last moments before a
 * power cut. Offsets mean something else from here on, and events of the time between may be
 * missing. A relay that is merely started again keeps its epoch, and nothing is missing.
 */
export interface RelayRestart {
  epoch: number | string;
  previousEpoch: number | string;
}

/** Events of a stream that can no longer be had: the offsets `from` up to `to`, both included. */
export interface StreamGap {
  stream: string;
  from: number;
  to: number;
  /** `retention`: the journal did not keep them so long. */
  reason: string;
}

/**
 * - `connecting`: opening, authenticating, subscribing, or catching up: what was missed comes in
 *   this state. `code` and `reason` tell why the connection before this one ended, when there was
 *   one.
 * - `live`: authenticated, and every subscription has been answered.
 * - `waiting`: the connection is gone; the next try is at `retryAt` (Unix milliseconds).
 * - `unauthenticated`: the credentials were refused. `retry()` starts again.
 * - `closed`: `close()` was called, or the relay found a fault in this client (1003, 1007, 1009).
 */
export type ConnectionState =
  | { name: "connecting"; code?: number; reason?: string }
  | { name: "live"; username: string }
  | { name: "waiting"; code: number; reason: string; retryAt: number }
  | { name: "unauthenticated"; code: number; reason: string }
  | { name: "closed"; code: number; reason: string };

/** How far the streams have been seen: the last offset of each, under one epoch. */
export interface StreamPosition {
  epoch: number | string | null;
  position: Record<string, number>;
}

export interface ConnectOptions {
  /** Default: `/ws` on the host that served the page. */
  url?: string;
  /** Asked for a JWT before every connection and before the old one expires. Without it the
   * cookie is used. */
  token?: () => string | Promise<string>;
  /** The longest ordinary delay between two tries. Default 3000. */
  maxDelayMs?: number;
  /** Where there is no global WebSocket. */
  WebSocket?: typeof WebSocket;
}

export interface SubscribeOptions {
  /**
   * From 1 to 1000: begin with so many of the newest messages of each stream that match. They come
   * together, before the first live one. Counts for the first handler of a pattern, and only once:
   * after a loss of the connection a subscription goes on where it was. What other subscriptions
   * have brought before is among them.
   */
  last?: number;
}

export interface RelayClient {
  readonly state: ConnectionState;
  readonly position: StreamPosition;
  /**
   * Calls `handler` once for each message whose topic matches: a topic, a prefix that ends in `*`,
   * or `*` alone. However many handlers a pattern has, it is subscribed to once; the last one to
   * leave unsubscribes. After a loss of the connection, what was missed comes first, in order.
   */
  subscribe(
    pattern: string,
    handler: (message: RelayMessage) => void,
    options?: SubscribeOptions,
  ): () => void;
  /**
   * The user's own tasks, which come without a subscription: on connect the latest state of each
   * unfinished one, marked `retained`, and after a loss the updates that were missed.
   */
  onTask(handler: (message: TaskMessage) => void): () => void;
  /** Called at once with the present state, then at each change. */
  onState(handler: (state: ConnectionState) => void): () => void;
  onError(handler: (error: RelayError) => void): () => void;
  /**
   * Called once for each new epoch of the relay, whether this connection outlived the change or a
   * later one found it, as soon as every subscription is live under it: the moment to load anew what
   * events alone would not bring back.
   */
  onRestart(handler: (restart: RelayRestart) => void): () => void;
  /** Called for events that were missed and can no longer be had, before those that follow them. */
  onGap(handler: (gap: StreamGap) => void): () => void;
  /** Tries now: after signing in again, or instead of waiting. */
  retry(): void;
  /** Ends the connection for good. */
  close(): void;
}

export function connect(options?: ConnectOptions): RelayClient;

/** What a close code asks of a client. */
export type CloseAction = "stop" | "authenticate" | "renew" | "reconnect" | "spread" | "later";

export function closeAction(code: number): CloseAction;

/** The delay before try number `attempt` (from 0), in milliseconds. */
export function retryDelayMs(
  action: CloseAction,
  attempt: number,
  maxDelayMs: number,
  random?: () => number,
): number;

/** The delay that a server asks for when it closes; up to twice that, or all come back at once. */
export function toldDelayMs(reason: string, random?: () => number): number | null;

/** How long a token that ends at `expiresAt` (Unix seconds) is kept before the next is asked for. */
export function renewDelayMs(expiresAt: number, nowMs: number): number;

export function topicMatches(pattern: string, topic: string): boolean;
