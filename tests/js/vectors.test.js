// The golden vectors, which the Python tests and the JavaScript tests read.

import assert from "node:assert/strict";
import { test } from "node:test";

import { closeAction, connect, topicMatches } from "../../edge/static/relay-client.js";
import { isServerName } from "../../edge/static/server-list.js";
import { ScriptedRelay, settled } from "./support/scripted-relay.js";
import { vectors } from "./support/vectors.js";

/** @type {Record<string, string>} */
const ACTION_FOR_ADVICE = {
  "stop: a bug in the client": "stop",
  "get a new token first": "authenticate",
  "get a new token, reconnect, resume": "renew",
  "reconnect, resume": "reconnect",
  "reconnect after the delay in the reason": "spread",
  "reconnect after a random delay, resume": "spread",
  "reconnect later": "later",
};

async function liveClient() {
  const relay = new ScriptedRelay();
  const client = connect({ url: "ws://relay/ws", WebSocket: relay.WebSocket });
  await settled();
  relay.admit();
  return { relay, client };
}

for (const { code, client_should } of vectors("close_codes")) {
  test(`close code ${code}: ${client_should}`, () => {
    assert.ok(client_should in ACTION_FOR_ADVICE, "advice that the client does not know");
    assert.equal(closeAction(code), ACTION_FOR_ADVICE[client_should]);
  });
}

for (const { code, legacy_code } of vectors("close_codes")) {
  if (legacy_code === code) continue;
  test(`close code ${code}, sent as ${legacy_code}, makes the client come back`, () => {
    assert.ok(["spread", "authenticate"].includes(closeAction(legacy_code)));
  });
}

for (const { pattern, matches, does_not_match } of vectors("topics").patterns.valid) {
  test(`pattern ${pattern}`, () => {
    for (const topic of matches) assert.equal(topicMatches(pattern, topic), true, topic);
    for (const topic of does_not_match) assert.equal(topicMatches(pattern, topic), false, topic);
  });
}

test("a valid name in a topic is a valid server name, an invalid one is not", () => {
  const { valid, invalid } = vectors("topics").topics;
  let checked = 0;
  for (const { topic, kind } of valid) {
    if (kind !== "resource-monitor") continue;
    assert.equal(isServerName(topic.slice("resource-monitor:".length)), true, topic);
    checked += 1;
  }
  for (const topic of invalid) {
    if (!topic.startsWith("event:")) continue;
    assert.equal(isServerName(topic.slice("event:".length)), false, topic);
    checked += 1;
  }
  assert.ok(checked > 5, "the vectors hold no such names");
});

test("messages reach their handlers unchanged", async () => {
  const { relay, client } = await liveClient();
  /** @type {unknown[]} */
  const heard = [];
  client.subscribe("*", (message) => heard.push(message));
  relay.answerAll();
  const messages = vectors("messages").events.map((/** @type {any} */ vector) => vector.message);
  for (const message of messages) relay.socket.say(message);
  assert.ok(messages.length > 0);
  assert.deepEqual(heard, messages);
  client.close();
});

test("a position message sets the position", async () => {
  const { relay, client } = await liveClient();
  const { message, epoch, position } = vectors("messages").position;
  relay.socket.say(message);
  assert.deepEqual(client.position, { epoch, position });
  client.close();
});

for (const { name, reply } of vectors("messages").replies_to_user) {
  if (reply.status === "error" && reply.code !== undefined) {
    test(`an error reply is reported: ${name}`, async () => {
      const { relay, client } = await liveClient();
      /** @type {import("../../edge/static/relay-client.js").RelayError[]} */
      const errors = [];
      client.onError((error) => errors.push(error));
      relay.socket.say(reply);
      assert.deepEqual(errors, [
        { code: reply.code, message: reply.message, action: undefined, topic: undefined },
      ]);
      assert.equal(client.state.name, "live");
      client.close();
    });
  } else if (reply.action === "subscribe") {
    test(`a subscription's reply sets the position: ${name}`, async () => {
      const { relay, client } = await liveClient();
      client.subscribe(reply.topic, () => {});
      relay.socket.say({ ...reply, id: relay.socket.takeRequest().id });
      assert.deepEqual(client.position, { epoch: reply.epoch, position: reply.position });
      client.close();
    });
  }
}
