// An edge in memory, as a client sees it: one stream of events, resumed as in docs/protocol.md.
// It acts in small steps, so that a test can act between two of them.

import { topicMatches } from "../../../edge/static/relay-client.js";
import { event, ScriptedRelay } from "./scripted-relay.js";

/**
 * @typedef {import("./scripted-relay.js").Message} Message
 * @typedef {{request: Message, after: number, covered: number}} CatchUp `after` is the offset that
 *   it has reached, `covered` the offset after which it began
 */

const EPOCH = 1;

export class ModelEdge extends ScriptedRelay {
  /** The topic of each event; the first has offset 1. @type {string[]} */
  topics = [];
  /** The offset after which a pattern without a resume got its events live. */
  beganAfter = /** @type {Map<string, number>} */ (new Map());
  /** The live patterns of the newest connection, with the offset after which each is live. */
  #live = /** @type {Map<string, number>} */ (new Map());
  /** Catch-ups that wait for a request without `more`. @type {CatchUp[]} */
  #gathered = [];
  /** Running catch-ups. @type {CatchUp[]} */
  #pass = [];

  get tip() {
    return this.topics.length;
  }

  get isIdle() {
    return this.socket.requests.length === 0 && this.#pass.length === 0;
  }

  /** Starts with a new connection that has authenticated. */
  welcome() {
    this.#live.clear();
    this.#gathered = [];
    this.#pass = [];
    this.socket.open();
    this.answer({ username: "alice" });
  }

  /** @param {string} topic */
  append(topic) {
    this.topics.push(topic);
    const isWanted = [...this.#live.keys()].some((pattern) => topicMatches(pattern, topic));
    if (isWanted) this.#send(this.tip);
  }

  tellPosition() {
    if (this.#pass.length + this.#gathered.length > 0) return;
    this.socket.say({ type: "position", epoch: EPOCH, position: { event: this.tip } });
  }

  /** Advances a catch-up by one offset, or takes the next request. */
  step() {
    if (this.#pass.length > 0) this.#goOn();
    else if (this.socket.requests.length > 0) this.#take(this.socket.takeRequest());
  }

  /** @param {Message} request */
  #take(request) {
    const { action, topic, since, last, more } = request;
    if (action === "unsubscribe") {
      this.#live.delete(topic);
      this.#say(request, {});
      return;
    }
    const after = since ? since.event : last ? this.#beforeNewest(topic, last) : this.tip;
    this.#gathered.push({ request, after, covered: after });
    if (more) return;
    this.#pass = this.#gathered;
    this.#gathered = [];
    if (this.#isDone) this.#finish();
  }

  get #isDone() {
    return this.#pass.every(({ after }) => after >= this.tip);
  }

  #goOn() {
    const offset = Math.min(...this.#pass.map(({ after }) => after)) + 1;
    const topic = this.topics[offset - 1] ?? "";
    const eager = this.#pass.filter(({ after }) => after === offset - 1);
    const isWanted = eager.some(({ request }) => topicMatches(request.topic, topic));
    const wasSent = [...this.#live].some(
      ([pattern, after]) => offset > after && topicMatches(pattern, topic),
    );
    for (const catchUp of eager) catchUp.after = offset;
    if (isWanted && !wasSent) this.#send(offset);
    if (this.#isDone) this.#finish();
  }

  #finish() {
    const pass = this.#pass;
    this.#pass = [];
    for (const { request, covered } of pass) this.#live.set(request.topic, covered);
    for (const { request } of pass) {
      if (!request.since) this.beganAfter.set(request.topic, this.tip);
      this.#say(request, { topic: request.topic, epoch: EPOCH, position: { event: this.tip } });
    }
  }

  /** @param {string} pattern @param {number} last */
  #beforeNewest(pattern, last) {
    let after = this.tip;
    for (let found = 0; after > 0; after -= 1) {
      if (topicMatches(pattern, this.topics[after - 1] ?? "")) found += 1;
      if (found > last) break;
    }
    return after;
  }

  /** @param {Message} request @param {Message} fields */
  #say({ action, id }, fields) {
    this.socket.say({ status: "success", action, id, ...fields });
  }

  /** @param {number} offset */
  #send(offset) {
    this.socket.say(event(this.topics[offset - 1] ?? "", { offset }));
  }
}
