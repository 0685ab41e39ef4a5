// What a client publishes and requests. Each is sent once or never (docs/protocol.md, section 7).

/**
 * @typedef {import("./relay-client.d.ts").CallErrorCode} CallErrorCode
 * @typedef {Record<string, any>} Message
 */

const DEFAULT_TIMEOUT_MS = 30_000;
const MAX_TIMEOUT_MS = 3_600_000;
// The edge refuses a further one; it waits here instead.
const MAX_UNANSWERED = 32;
const DEFAULT_MAX_REQUEST_BYTES = 64 * 1024;
const ID_AND_TIMEOUT_BYTES = 64;

/** The error of a `publish` or a `request`. */
export class RelayCallError extends Error {
  /** @param {CallErrorCode} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.name = "RelayCallError";
    this.code = code;
  }
}

/** The message that publishes an event.
 * @param {string} topic @param {unknown} data @param {{type?: string, username?: string}} options */
export function publication(topic, data, { type, username }) {
  return { action: "publish", topic, data, type, username };
}

/** What `publish` returns. @param {Message} reply */
export function published({ event_id, result }) {
  return event_id === undefined ? { result } : { eventId: event_id };
}

/** The time for a call. @param {number | undefined} timeoutMs */
export function checkedTimeoutMs(timeoutMs = DEFAULT_TIMEOUT_MS) {
  if (timeoutMs > 0 && timeoutMs <= MAX_TIMEOUT_MS) return timeoutMs;
  throw new RangeError(`timeoutMs: must be up to ${MAX_TIMEOUT_MS}, not ${timeoutMs}`);
}

/**
 * Holds calls until there is a connection, and their promises until there is an outcome. Their ids
 * are texts: the numbers are those of the client's own requests.
 */
export class Calls {
  /** @type {Call[]} */
  #waiting = [];
  /** By id, until the reply: also those that have timed out, since the edge counts them.
   * @type {Map<unknown, Call>} */
  #sent = new Map();
  /** @type {((request: Message) => void) | null} */
  #send = null;
  #isClosed = false;
  #nextId = 1;
  #maxBytes;

  /** @param {number | undefined} maxRequestBytes */
  constructor(maxRequestBytes = DEFAULT_MAX_REQUEST_BYTES) {
    this.#maxBytes = maxRequestBytes;
  }

  /**
   * Sends a message as soon as there is a connection, and returns the reply.
   * @param {Message} request
   * @param {number} [timeoutMs]
   * @returns {Promise<Message>}
   */
  async perform(request, timeoutMs) {
    const allowedMs = checkedTimeoutMs(timeoutMs);
    // As text, so that the caller may change its objects afterwards.
    const text = JSON.stringify(request);
    const size = new TextEncoder().encode(text).length + ID_AND_TIMEOUT_BYTES;
    if (size > this.#maxBytes) {
      const told = `has ${size} bytes, more than maxRequestBytes (${this.#maxBytes})`;
      throw new RelayCallError("too_large", `${request.action}: ${told}`);
    }
    const call = new Call(request, text, allowedMs);
    const timer = setTimeout(() => this.#giveUp(call), allowedMs);
    this.#add(call);
    try {
      return await call.outcome;
    } finally {
      clearTimeout(timer);
    }
  }

  /** The edge has authenticated the client. @param {(request: Message) => void} send */
  opened(send) {
    this.#send = send;
    this.#sendWaiting();
  }

  /** @param {Message} reply @returns {boolean} whether it is a reply to a call */
  replied(reply) {
    const call = this.#sent.get(reply.id);
    if (!call) return false;
    this.#sent.delete(reply.id);
    if (reply.status !== "error") call.resolve(reply);
    else call.fail(reply.code ?? "error", String(reply.message ?? ""));
    this.#sendWaiting();
    return true;
  }

  /** Nobody knows whether the calls that were sent were acted on. */
  connectionLost() {
    this.#send = null;
    const lost = [...this.#sent.values()];
    this.#sent.clear();
    for (const call of lost) {
      const told = `the connection was lost: nobody knows whether ${call.what} was acted on`;
      call.fail("connection_lost", told);
    }
  }

  /** The client is closed: nothing is sent any more. */
  close() {
    this.connectionLost();
    this.#isClosed = true;
    for (const call of this.#waiting.splice(0)) this.#add(call);
  }

  /** @param {Call} call */
  #add(call) {
    if (this.#isClosed) {
      call.fail("not_connected", `the client is closed: ${call.what} was not sent`);
      return;
    }
    this.#waiting.push(call);
    this.#sendWaiting();
  }

  /** @param {Call} call */
  #giveUp(call) {
    const within = `within ${call.timeoutMs / 1000} s`;
    const index = this.#waiting.indexOf(call);
    if (index < 0) {
      call.fail("timeout", `No answer to ${call.what} ${within}`);
      return;
    }
    this.#waiting.splice(index, 1);
    call.fail("not_connected", `no connection ${within}: ${call.what} was not sent`);
  }

  #sendWaiting() {
    while (this.#send && this.#sent.size < MAX_UNANSWERED) {
      const call = this.#waiting.shift();
      if (!call) return;
      const id = `call-${this.#nextId++}`;
      this.#sent.set(id, call);
      this.#send({ ...call.message(), id });
    }
  }
}

/** One message on its way, and the promise of its outcome. */
class Call {
  /** @type {(reply: Message) => void} */
  resolve = () => {};
  /** @type {(error: RelayCallError) => void} */
  #reject = () => {};
  #text;
  #action;
  #deadline;

  /** @param {Message} request @param {string} text @param {number} timeoutMs */
  constructor(request, text, timeoutMs) {
    this.what = `'${request.method ?? request.topic}'`;
    this.timeoutMs = timeoutMs;
    this.#action = request.action;
    this.#text = text;
    this.#deadline = performance.now() + timeoutMs;
    /** @type {Promise<Message>} */
    this.outcome = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.#reject = reject;
    });
  }

  /** Without effect once there is an outcome. @param {CallErrorCode} code @param {string} message */
  fail(code, message) {
    this.#reject(new RelayCallError(code, message));
  }

  /** @returns {Message} */
  message() {
    const message = JSON.parse(this.#text);
    if (this.#action !== "request") return message;
    // The edge need not wait for longer than the caller does.
    const timeout = Math.max(1, this.#deadline - performance.now()) / 1000;
    return { ...message, timeout };
  }
}
