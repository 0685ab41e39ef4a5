// The client against a model of the edge, while connections are lost at any moment: every handler
// gets each matching event once and in order, and misses none after its first.

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { connect, topicMatches } from "../../edge/static/relay-client.js";
import { mockClocks } from "./support/clocks.js";
import { ModelEdge } from "./support/model-edge.js";
import { settled } from "./support/scripted-relay.js";

const ROUNDS = 300;
const STEPS = 120;
const TOPICS = ["event:a", "event:b", "event:ab"];
const PATTERNS = [...TOPICS, "event:a*", "event:*", "*"];
const MAX_DELAY_MS = 3000;

beforeEach(() => void mockClocks(0));
afterEach(() => {
  mock.timers.reset();
  mock.restoreAll();
});

/** Returns a source of numbers from 0 to 1, the same for the same seed. @param {number} seed */
function numbers(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

class Round {
  edge = new ModelEdge();
  /** @type {import("../../edge/static/relay-client.js").RelayClient} */
  client = connect({ url: "ws://edge/ws", WebSocket: this.edge.WebSocket });
  /** @type {Map<string, number[]>} */
  heardBy = new Map();
  /** @type {Map<string, () => void>} */
  #stopBy = new Map();

  /** @param {number} seed */
  constructor(seed) {
    this.random = numbers(seed);
  }

  /** @template T @param {T[]} items @returns {T} */
  pick(items) {
    return /** @type {T} */ (items[Math.floor(this.random() * items.length)]);
  }

  async run() {
    await settled();
    this.edge.welcome();
    for (let step = 0; step < STEPS; step += 1) await this.#act();
    if (this.client.state.name === "waiting") await this.#comeBack();
    while (!this.edge.isIdle) this.edge.step();
    assert.equal(this.client.state.name, "live");
    for (const topic of TOPICS) this.edge.append(topic);
    this.client.close();
  }

  async #act() {
    const isOffline = this.client.state.name === "waiting";
    const chance = this.random();
    if (chance < 0.35) this.edge.append(this.pick(TOPICS));
    else if (chance < 0.45) this.#listen();
    else if (chance < 0.48) this.#stopListening();
    else if (isOffline) await this.#comeBack();
    else if (chance < 0.55) this.edge.socket.drop(1006);
    else if (chance < 0.6) this.edge.tellPosition();
    else this.edge.step();
  }

  async #comeBack() {
    mock.timers.tick(MAX_DELAY_MS);
    await settled();
    this.edge.welcome();
  }

  #listen() {
    const pattern = this.pick(PATTERNS);
    if (this.heardBy.has(pattern)) return;
    /** @type {number[]} */
    const heard = [];
    const last = this.random() < 0.5 ? undefined : 1 + Math.floor(this.random() * 5);
    const stop = this.client.subscribe(pattern, ({ offset }) => heard.push(offset ?? 0), { last });
    this.heardBy.set(pattern, heard);
    this.#stopBy.set(pattern, stop);
  }

  #stopListening() {
    const pattern = this.pick(PATTERNS);
    this.#stopBy.get(pattern)?.();
    this.heardBy.delete(pattern);
  }
}

test("a handler gets its events without hole, repeat or disorder, whatever is lost", async () => {
  let heardInAll = 0;
  for (let seed = 1; seed <= ROUNDS; seed += 1) {
    const round = new Round(seed);
    await round.run();
    for (const [pattern, heard] of round.heardBy) {
      const beganAfter = round.edge.beganAfter.get(pattern) ?? 0;
      const matching = round.edge.topics
        .map((topic, index) => (topicMatches(pattern, topic) ? index + 1 : 0))
        .filter((offset) => offset > beganAfter);
      const history = heard.filter((offset) => offset <= beganAfter);
      const rising = [...new Set(history)].sort((a, b) => a - b);
      assert.deepEqual(heard, [...rising, ...matching], `seed ${seed}: ${pattern}`);
      heardInAll += heard.length;
    }
  }
  assert.ok(heardInAll > ROUNDS * 20, `the rounds are too tame: ${heardInAll}`);
});
