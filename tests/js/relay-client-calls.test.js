// Publishing and requesting, against a scripted relay.

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { connect, RelayCallError } from "../../edge/static/relay-client.js";
import { mockClocks } from "./support/clocks.js";
import { ScriptedRelay, settled } from "./support/scripted-relay.js";
import { vectors } from "./support/vectors.js";

const { messages, outcomes } = vectors("client_calls");

/** @type {ScriptedRelay} */
let relay;
/** @type {import("../../edge/static/relay-client.js").RelayClient} */
let client;

beforeEach(async () => {
  mockClocks(1_790_000_000_000);
  relay = new ScriptedRelay();
  client = connect({ url: "ws://relay/ws", WebSocket: relay.WebSocket, token: () => "token" });
  await settled();
});

afterEach(() => {
  client.close();
  mock.timers.reset();
  mock.restoreAll();
});

/** Follows a promise. @param {Promise<any>} promise */
function followed(promise) {
  /** @type {{value?: any, error?: RelayCallError, settlements: number}} */
  const seen = { settlements: 0 };
  const settle = (/** @type {any} */ fields) => {
    Object.assign(seen, fields);
    seen.settlements += 1;
  };
  promise.then((value) => settle({ value }), (error) => settle({ error }));
  return seen;
}

/** @param {ReturnType<typeof followed>} call */
async function codeOf(call) {
  await settled();
  await settled();
  assert.ok(call.error instanceof RelayCallError, JSON.stringify(call));
  assert.equal(call.settlements, 1);
  return call.error.code;
}

for (const { name, publish, request, message } of messages) {
  test(`the message of the vectors: ${name}`, () => {
    relay.admit();
    if (publish) {
      const { topic, data, ...options } = publish;
      followed(client.publish(topic, data, options));
    } else {
      const timeoutMs = request.timeout_s * 1000;
      followed(client.request(request.method, request.params, { timeoutMs }));
    }
    assert.deepEqual(relay.socket.takeRequest(), { ...message, id: "call-1" });
  });
}

for (const { name, action, reply, value, error } of outcomes) {
  test(`the outcome of the vectors: ${name}`, async () => {
    relay.admit();
    const errors = mock.fn();
    client.onError(errors);
    const isPublish = action === "publish";
    const call = followed(isPublish ? client.publish("room:1", 1) : client.request("greet"));
    relay.answer(reply);
    if (error) {
      assert.equal(await codeOf(call), error.code);
      assert.equal(call.error?.message, reply.message);
    } else {
      await settled();
      await settled();
      const { event_id, ...rest } = isPublish ? value : {};
      assert.deepEqual(call.value, event_id ? { eventId: event_id, ...rest } : value);
    }
    assert.equal(errors.mock.callCount(), 0);
    assert.equal(client.state.name, "live");
  });
}

test("a call waits for a connection, and goes behind the subscriptions", async () => {
  client.subscribe("event:*", () => {});
  const call = followed(client.request("greet", ["bob"], { timeoutMs: 10_000 }));
  mock.timers.tick(4_000);
  relay.socket.open();
  relay.answer({ username: "alice" });
  assert.deepEqual(relay.socket.requests.map(({ action }) => action), ["subscribe", "request"]);
  assert.equal(relay.socket.requests[1]?.timeout, 6);
  relay.answer({ epoch: 1, position: { event: 0 } });
  assert.equal(client.state.name, "live", "a call that takes its time delays nothing");
  relay.answer({ result: "hello" });
  await settled();
  await settled();
  assert.equal(call.value, "hello");
});

test("a lost connection rejects what was sent, and nothing is sent again", async () => {
  relay.admit();
  const sent = followed(client.publish("room:1", 1));
  relay.socket.drop(1006);
  const waiting = followed(client.publish("room:1", 2));
  assert.equal(await codeOf(sent), "connection_lost");
  assert.match(sent.error?.message ?? "", /nobody knows/);
  mock.timers.tick(3_000);
  await settled();
  relay.socket.open();
  relay.answer({ username: "alice" });
  assert.deepEqual(relay.socket.requests.map(({ data }) => data), [2]);
  assert.equal(waiting.settlements, 0);
});

test("a call without a connection is rejected in time, and not sent later", async () => {
  const call = followed(client.request("greet", null, { timeoutMs: 5_000 }));
  mock.timers.tick(5_000);
  assert.equal(await codeOf(call), "not_connected");
  relay.admit();
  assert.deepEqual(relay.socket.sent.map(({ action }) => action), ["authenticate"]);
});

test("a call without an answer is rejected in time, and its late reply disturbs nothing", async () => {
  relay.admit();
  const errors = mock.fn();
  client.onError(errors);
  const call = followed(client.request("greet", null, { timeoutMs: 5_000 }));
  mock.timers.tick(5_000);
  assert.equal(await codeOf(call), "timeout");
  relay.answer({ status: "error", code: "timeout", message: "No answer" });
  assert.equal(errors.mock.callCount(), 0);
});

test("the edge is never given more than it takes", () => {
  relay.admit();
  for (let number = 0; number < 34; number += 1) followed(client.request("greet"));
  assert.equal(relay.socket.requests.length, 32);
  relay.answer();
  assert.equal(relay.socket.requests.length, 32);
  relay.answerAll();
  assert.equal(relay.socket.sent.length, 1 + 34);
});

test("a closed client sends nothing", async () => {
  const before = followed(client.request("greet"));
  client.close();
  const after = followed(client.publish("room:1", 1));
  assert.deepEqual([await codeOf(before), await codeOf(after)], ["not_connected", "not_connected"]);
});

test("what cannot be sent is rejected at once", async () => {
  relay.admit();
  assert.equal(await codeOf(followed(client.publish("room:1", "x".repeat(65_536)))), "too_large");
  await assert.rejects(client.publish("room:1", 1n), TypeError);
  await assert.rejects(client.request("greet", null, { timeoutMs: 0 }), /^RangeError: timeoutMs/);
  assert.deepEqual(relay.socket.requests, []);
});

test("the caller may change its data afterwards", () => {
  const data = { text: "hello" };
  followed(client.publish("room:1", data));
  data.text = "changed";
  relay.socket.open();
  relay.answer({ username: "alice" });
  assert.deepEqual(relay.socket.requests[0]?.data, { text: "hello" });
});
