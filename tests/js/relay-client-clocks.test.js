// The client and time: a silent edge, tokens that expire, clocks that are set or stand still.

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { connect } from "../../edge/static/relay-client.js";
import { mockClocks } from "./support/clocks.js";
import { expiry, ScriptedRelay, settled } from "./support/scripted-relay.js";

const POSITION = { type: "position", epoch: 7, position: { event: 1 } };
const SILENCE_MS = 30_000;
const ANSWER_MS = 10_000;
const DAY_MS = 86_400_000;
const JUMPS = { back: -DAY_MS, ahead: 40 * DAY_MS };

/** @type {ScriptedRelay} */
let relay;
/** @type {ReturnType<typeof mockClocks>} */
let clock;
/** @type {import("../../edge/static/relay-client.js").RelayClient} */
let client;
let tokens = 0;

beforeEach(async () => {
  clock = mockClocks(1_790_000_000_000);
  relay = new ScriptedRelay();
  tokens = 0;
  const token = () => `token-${++tokens}`;
  client = connect({ url: "ws://relay/ws", WebSocket: relay.WebSocket, token });
  await settled();
});

afterEach(() => {
  client.close();
  mock.timers.reset();
  mock.restoreAll();
});

/** @param {number} ms */
async function pass(ms) {
  clock.pass(ms);
  await settled();
}

test("after a silence the client asks, and without an answer the connection is lost", async () => {
  relay.admit();
  await pass(SILENCE_MS - 5000);
  relay.socket.say(POSITION);
  await pass(SILENCE_MS - 1);
  assert.equal(relay.socket.requests.length, 0);
  await pass(1);
  assert.equal(relay.socket.requests[0]?.action, "unsubscribe");
  await pass(ANSWER_MS - 1);
  assert.equal(client.state.name, "live");
  await pass(1);
  assert.equal(client.state.name, "waiting");
  assert.equal(relay.socket.wasClosedByClient, true);
});

test("any message is an answer, and the next silence counts from it", async () => {
  relay.admit();
  for (let time = 0; time < 3; time += 1) {
    await pass(SILENCE_MS + 5000);
    assert.equal(relay.socket.requests.length, 1);
    if (time === 1) relay.socket.say(POSITION);
    relay.answerAll();
  }
  await pass(SILENCE_MS - 5000);
  assert.equal(client.state.name, "live");
  assert.equal(relay.sockets.length, 1);
  assert.equal(relay.socket.requests.length, 0);
});

for (const [direction, jumpMs] of Object.entries(JUMPS)) {
  test(`a dead connection is noticed as fast after the clock was set ${direction}`, async () => {
    relay.admit();
    await pass(1000);
    clock.set(jumpMs);
    mock.method(Math, "random", () => 1);
    await pass(SILENCE_MS + ANSWER_MS - 1000);
    assert.equal(client.state.name, "waiting");
  });

  test(`a clock that is set ${direction} neither disturbs nor renews`, async () => {
    relay.admit("alice", 3600);
    for (let minute = 0; minute < 30; minute += 1) {
      clock.set(minute % 2 ? -jumpMs : jumpMs);
      for (let part = 0; part < 3; part += 1) {
        await pass(20_000);
        relay.socket.say(POSITION);
      }
    }
    assert.equal(client.state.name, "live");
    assert.equal(relay.sockets.length, 1);
    assert.equal(tokens, 1);
  });

  test(`a token is renewed in time although the clock is wrong: ${direction}`, async () => {
    clock.set(jumpMs);
    relay.admit("alice", 600);
    for (let passed = 0; passed < 570; passed += 10) {
      assert.equal(tokens, 1, `a token after ${passed} s`);
      relay.socket.say(POSITION);
      await pass(10_000);
    }
    assert.equal(tokens, 2);
    relay.answer({ username: "alice", ...expiry(600) });
    relay.socket.say(POSITION);
    await pass(10_000);
    assert.equal(tokens, 2);
    assert.equal(client.state.name, "live");
  });
}

test("an edge that tells no duration is believed by the clock of this machine", async () => {
  relay.socket.open();
  relay.answer({ username: "alice", expires_at: Date.now() / 1000 + 40 });
  await pass(31_999);
  assert.equal(tokens, 1);
  await pass(1);
  assert.equal(tokens, 2);
});

test("a page that was frozen asks before it gives up a connection", async () => {
  relay.admit();
  // Timers that were due meanwhile run before the messages that came meanwhile.
  await pass(SILENCE_MS);
  relay.socket.say(POSITION);
  await pass(ANSWER_MS);
  relay.answerAll();
  assert.equal(client.state.name, "live");
  assert.equal(relay.sockets.length, 1);
});

test("a page that wakes up asks at once: its clocks may have stood still", async () => {
  const network = new EventTarget();
  const globals = /** @type {Record<string, unknown>} */ (globalThis);
  client.close();
  globals.addEventListener = network.addEventListener.bind(network);
  try {
    client = connect({ url: "ws://relay/ws", WebSocket: relay.WebSocket });
    await settled();
    relay.admit();
    network.dispatchEvent(new Event("online"));
    network.dispatchEvent(new Event("online"));
    assert.equal(relay.socket.requests.length, 1);
    await pass(ANSWER_MS);
    assert.equal(client.state.name, "waiting");
  } finally {
    Reflect.deleteProperty(globals, "addEventListener");
  }
});
