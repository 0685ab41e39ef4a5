// Handlers that join a subscription later, addressed events, and topics that are a kind alone.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { connect } from "../../edge/static/relay-client.js";
import { event, ScriptedRelay, settled } from "./support/scripted-relay.js";

const EPOCH = 7;

/** @type {ScriptedRelay} */
let relay;
/** @type {import("../../edge/static/relay-client.js").RelayClient} */
let client;

beforeEach(async () => {
  relay = new ScriptedRelay();
  client = connect({ url: "ws://relay/ws", WebSocket: relay.WebSocket });
  await settled();
  relay.admit();
});

afterEach(() => client.close());

/** @param {string} pattern @param {number} [last] */
function listen(pattern, last) {
  /** @type {(number | undefined)[]} */
  const heard = [];
  const stop = client.subscribe(pattern, ({ offset }) => heard.push(offset), { last });
  return { heard, stop };
}

test("a later handler of a pattern gets its newest messages, and the others get them once", () => {
  const first = listen("event:*");
  relay.answer({ epoch: EPOCH, position: { event: 4 } });
  relay.socket.say(event("event:a", { offset: 5 }));
  const second = listen("event:*", 3);
  assert.equal(relay.socket.requests[0]?.last, 3);
  for (const offset of [3, 4, 5, 6]) relay.socket.say(event("event:a", { offset }));
  assert.deepEqual(second.heard, []);
  relay.answer({ epoch: EPOCH, position: { event: 6 } });
  relay.socket.say(event("event:a", { offset: 7 }));
  assert.deepEqual(first.heard, [5, 6, 7]);
  assert.deepEqual(second.heard, [3, 4, 5, 6, 7]);
  first.stop();
  assert.equal(relay.socket.requests.length, 0);
  second.stop();
  assert.equal(relay.socket.requests[0]?.action, "unsubscribe");
});

test("if the connection is lost before its newest messages are complete, they come anew", async () => {
  listen("event:*");
  relay.answer({ epoch: EPOCH, position: { event: 4 } });
  const second = listen("event:*", 2);
  relay.socket.say(event("event:a", { offset: 3 }));
  relay.socket.drop(1006);
  client.retry();
  await settled();
  relay.socket.open();
  relay.answer({ username: "alice" });
  relay.answer({ epoch: EPOCH, position: { event: 4 }, recovered: true });
  assert.equal(relay.socket.requests[0]?.last, 2);
  for (const offset of [3, 4]) relay.socket.say(event("event:a", { offset }));
  relay.answer({ epoch: EPOCH, position: { event: 4 } });
  assert.deepEqual(second.heard, [3, 4]);
});

test("a later handler that leaves before its newest messages gets none", () => {
  const first = listen("event:*");
  relay.answer({ epoch: EPOCH, position: { event: 4 } });
  const second = listen("event:*", 2);
  second.stop();
  relay.socket.say(event("event:a", { offset: 3 }));
  relay.answer({ epoch: EPOCH, position: { event: 4 } });
  relay.socket.say(event("event:a", { offset: 5 }));
  assert.deepEqual([first.heard, second.heard], [[5], []]);
});

test("live values reach a handler that waits for its newest messages", () => {
  listen("*");
  relay.answer({ epoch: EPOCH, position: { event: 4 } });
  const second = listen("*", 2);
  relay.socket.say(event("resource-monitor:a"));
  assert.deepEqual(second.heard, [undefined]);
});

test("events for this user alone need no subscription and come once", () => {
  /** @type {string[]} */
  const heard = [];
  const stop = client.onAddressed(({ topic }) => heard.push(topic));
  relay.socket.say({ type: "position", epoch: EPOCH, position: { addressed: 0 } });
  for (const offset of [1, 1, 2]) {
    relay.socket.say(event(`notice:${offset}`, { offset, stream: "addressed" }));
  }
  stop();
  relay.socket.say(event("notice:3", { offset: 3, stream: "addressed" }));
  assert.deepEqual(heard, ["notice:1", "notice:2"]);
});

test("a topic that is a kind alone resumes in its stream", async () => {
  const { heard } = listen("app_log");
  relay.answer({ epoch: EPOCH, position: { app_log: 4 } });
  relay.socket.say(event("app_log", { offset: 5 }));
  relay.socket.drop(1006);
  client.retry();
  await settled();
  relay.socket.open();
  relay.answer({ username: "alice" });
  assert.deepEqual(relay.socket.requests[0]?.since, { app_log: 5 });
  assert.deepEqual(heard, [5]);
});

test("without any WebSocket the client says so", () => {
  const { WebSocket } = globalThis;
  // @ts-expect-error - as in Node 20
  delete globalThis.WebSocket;
  try {
    assert.throws(() => connect({ url: "ws://relay/ws" }), /^TypeError: WebSocket: /);
  } finally {
    if (WebSocket) globalThis.WebSocket = WebSocket;
  }
});
