// An edge in memory, at the other end of a WebSocket, that a test controls.

/**
 * @typedef {Record<string, any>} Message
 */

export class ScriptedRelay {
  /** Every socket a client opened, oldest first. @type {ScriptedSocket[]} */
  sockets = [];

  constructor() {
    const relay = this;
    /** The class that the client under test gets instead of the browser's. */
    this.WebSocket = /** @type {typeof WebSocket} */ (
      /** @type {unknown} */ (
        class extends ScriptedSocket {
          /** @param {string} url */
          constructor(url) {
            super(url);
            relay.sockets.push(this);
          }
        }
      )
    );
  }

  get socket() {
    const socket = this.sockets.at(-1);
    if (!socket) throw new Error("The client has not opened a socket");
    return socket;
  }

  /** Opens the newest socket and answers every request until the client is live. */
  admit(username = "alice", expiresInS = 100_000_000) {
    this.socket.open();
    this.answer({ username, ...expiry(expiresInS) });
    this.answerAll();
  }

  /** Answers the newest socket's next unanswered request. @param {Message} [fields] */
  answer(fields = {}) {
    const request = this.socket.takeRequest();
    this.socket.say({ status: "success", action: request.action, id: request.id, ...fields });
    return request;
  }

  answerAll() {
    while (this.socket.requests.length > 0) this.answer();
  }
}

export class ScriptedSocket {
  readyState = 0;
  wasClosedByClient = false;
  /** The client's unanswered messages. @type {Message[]} */
  requests = [];
  /** All messages of the client. @type {Message[]} */
  sent = [];
  /** @type {(() => void) | null} */
  onopen = null;
  /** @type {((event: {data: string}) => void) | null} */
  onmessage = null;
  /** @type {((event: {code: number, reason: string}) => void) | null} */
  onclose = null;
  /** @type {((event: any) => void) | null} */
  onerror = null;

  /** @param {string} url */
  constructor(url) {
    this.url = url;
  }

  /** @param {string} text */
  send(text) {
    const message = JSON.parse(text);
    this.sent.push(message);
    this.requests.push(message);
  }

  close() {
    this.wasClosedByClient = true;
    this.readyState = 3;
  }

  open() {
    this.readyState = 1;
    this.onopen?.();
  }

  takeRequest() {
    const request = this.requests.shift();
    if (!request) throw new Error("The client has sent nothing that is not answered");
    return request;
  }

  /** @param {Message} message */
  say(message) {
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  /** @param {number} code @param {string} [reason] */
  drop(code, reason = "") {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }
}

/** The expiry in a reply of an edge whose clock is right. @param {number} seconds */
export function expiry(seconds) {
  return { expires_at: 1_790_000_000 + seconds, expires_in: seconds };
}

/** Lets pending promises continue. */
export async function settled() {
  for (let turn = 0; turn < 5; turn += 1) await Promise.resolve();
}

/** @param {string} topic @param {Message} [fields] @returns {any} */
export function event(topic, fields = {}) {
  const emitted_at = 1_790_000_000_000;
  return { type: "event", topic, data: {}, source: "manager-1", emitted_at, ...fields };
}
