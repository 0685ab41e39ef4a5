// Tabs that share one connection: the hub of the worker with ports, as a browser would make them.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { TabClient } from "../../edge/static/relay-client-tabs.js";
import { Hub } from "../../edge/static/relay-client-worker.js";
import { event, ScriptedRelay } from "./support/scripted-relay.js";

const URL = "ws://relay/ws";
const EPOCH = 7;

/** @type {ScriptedRelay} */
let relay;
/** @type {Hub} */
let hub;
/** @type {TabClient[]} */
let tabs;

beforeEach(() => {
  relay = new ScriptedRelay();
  hub = new Hub({ WebSocket: relay.WebSocket });
  tabs = [];
});

afterEach(async () => {
  for (const tab of tabs) tab.close();
  await posted();
});

/** Lets posted messages arrive. */
async function posted() {
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** @param {import("../../edge/static/relay-client.js").ConnectOptions} [options] */
function open(options = {}) {
  const { port1, port2 } = new MessageChannel();
  hub.add(port1);
  const tab = new TabClient(port2, { url: URL, ...options });
  tabs.push(tab);
  return tab;
}

/** @param {TabClient} tab @param {string} pattern @param {number} [last] */
function listen(tab, pattern, last) {
  /** @type {unknown[]} */
  const heard = [];
  const stop = tab.subscribe(pattern, ({ topic, offset }) => heard.push(offset ?? topic), { last });
  return { heard, stop };
}

async function live() {
  const tab = open();
  await posted();
  relay.admit();
  await posted();
  assert.equal(tab.state.name, "live");
  return tab;
}

test("tabs share a connection and the subscription of a pattern; the last one ends both", async () => {
  const first = await live();
  const second = open();
  const heard = [listen(first, "event:*"), listen(second, "event:*"), listen(second, "event:b")];
  await posted();
  assert.equal(relay.sockets.length, 1);
  assert.equal(second.state.name, "live");
  assert.deepEqual(relay.socket.requests.map(({ topic }) => topic), ["event:*", "event:b"]);
  while (relay.socket.requests.length > 0) relay.answer({ epoch: EPOCH, position: { event: 0 } });
  relay.socket.say(event("event:a", { offset: 1 }));
  relay.socket.say(event("event:b", { offset: 2 }));
  await posted();
  assert.deepEqual(heard.map((each) => each.heard), [[1, 2], [1, 2], [2]]);
  assert.deepEqual(second.position, { epoch: EPOCH, position: { event: 2 } });
  first.close();
  await posted();
  assert.deepEqual(relay.socket.requests, []);
  second.close();
  await posted();
  assert.ok(relay.socket.wasClosedByClient);
  assert.equal(second.state.name, "closed");
});

test("a new tab gets the newest messages, the last values and its unfinished tasks", async () => {
  const first = await live();
  listen(first, "event:*");
  listen(first, "resource-monitor:*");
  await posted();
  while (relay.socket.requests.length > 0) relay.answer({ epoch: EPOCH, position: { event: 4 } });
  relay.socket.say(event("resource-monitor:a", { type: "resource_update" }));
  for (const [id, status] of [["1", "in_progress"], ["2", "in_progress"], ["2", "success"]]) {
    relay.socket.say(event(`task:${id}`, { type: "task_update", data: { status } }));
  }
  const second = open();
  /** @type {string[]} */
  const tasks = [];
  second.onTask(({ topic, retained }) => tasks.push(`${topic} ${retained}`));
  const events = listen(second, "event:*", 2);
  const values = listen(second, "resource-monitor:*");
  await posted();
  for (const offset of [3, 4]) relay.socket.say(event("event:a", { offset }));
  relay.answer({ epoch: EPOCH, position: { event: 4 } });
  await posted();
  assert.deepEqual(events.heard, [3, 4]);
  assert.deepEqual(values.heard, ["resource-monitor:a"]);
  assert.deepEqual(tasks, ["task:1 true"]);
});

test("a tab that unsubscribes gets nothing more, and old values are forgotten", async () => {
  const first = await live();
  const { heard, stop } = listen(first, "resource-monitor:*");
  await posted();
  relay.answerAll();
  relay.socket.say(event("resource-monitor:a"));
  await posted();
  stop();
  await posted();
  relay.answerAll();
  const again = listen(first, "resource-monitor:*");
  await posted();
  assert.deepEqual([heard, again.heard], [["resource-monitor:a"], []]);
});

test("a token comes from any tab that answers", async () => {
  open({ token: () => new Promise(() => {}) });
  open({ token: async () => "from the second" });
  await posted();
  relay.socket.open();
  assert.equal(relay.answer({ username: "alice" }).token, "from the second");
});

test("a tab that goes away does not keep the others waiting for its token", async () => {
  const first = open({ token: () => new Promise(() => {}) });
  await posted();
  first.close();
  open({ token: () => "from the second" });
  // The client takes the goodbye for a failure, and tries again after a moment.
  while (relay.sockets.length === 0) await posted();
  relay.socket.open();
  assert.equal(relay.answer({ username: "alice" }).token, "from the second");
});

test("gaps, new epochs and refusals reach the tabs that they concern", async () => {
  const [first, second] = [await live(), open()];
  /** @type {string[]} */
  const heard = [];
  second.onGap(({ from }) => heard.push(`gap ${from}`));
  second.onRestart(({ epoch }) => heard.push(`epoch ${epoch}`));
  second.onAddressed(({ topic }) => heard.push(topic));
  second.onError(({ topic }) => heard.push(`error ${topic}`));
  listen(first, "secret:*");
  await posted();
  relay.answer({ status: "error", code: "forbidden", message: "no" });
  listen(second, "event:*");
  await posted();
  relay.answer({ epoch: EPOCH, position: { event: 4 } });
  relay.socket.say({ type: "gap", stream: "event", from: 5, to: 6, reason: "retention" });
  relay.socket.say(event("notice:1", { offset: 1, stream: "addressed" }));
  relay.socket.say({ type: "position", epoch: EPOCH + 1, position: {} });
  await posted();
  assert.deepEqual(heard, ["gap 5", "notice:1", `epoch ${EPOCH + 1}`]);
});

test("without the worker's script a tab has a connection of its own", async () => {
  const before = globalThis.WebSocket;
  globalThis.WebSocket = relay.WebSocket;
  try {
    const tab = new TabClient(new MessageChannel().port2, { url: URL });
    tabs.push(tab);
    const { heard } = listen(tab, "event:*");
    await tab.fallBack();
    await posted();
    relay.socket.open();
    relay.answer({ username: "alice" });
    relay.answer({ epoch: EPOCH, position: { event: 0 } });
    relay.socket.say(event("event:a", { offset: 1 }));
    await posted();
    assert.deepEqual(heard, [1]);
    await tab.fallBack();
    assert.equal(relay.sockets.length, 1);
  } finally {
    globalThis.WebSocket = before;
  }
});

test("after refused credentials a tab can try again", async () => {
  const tab = open();
  await posted();
  relay.socket.open();
  relay.socket.drop(1008, "Invalid token");
  await posted();
  assert.equal(tab.state.name, "unauthenticated");
  tab.retry();
  await posted();
  assert.equal(relay.sockets.length, 2);
});

test("a tab publishes and requests through the worker", async () => {
  const tab = await live();
  const other = open();
  await posted();
  const published = tab.publish("room:1", "hello", { username: "bob" });
  const requested = other.request("greet", ["bob"], { timeoutMs: 10_000 });
  await posted();
  const [publication, request] = relay.socket.requests;
  assert.deepEqual([publication?.data, publication?.username], ["hello", "bob"]);
  assert.deepEqual([request?.method, request?.params], ["greet", ["bob"]]);
  relay.answer({ event_id: "8739" });
  relay.answer({ status: "error", code: "failed", message: "no such server" });
  assert.deepEqual(await published, { eventId: "8739" });
  await assert.rejects(requested, { name: "RelayCallError", code: "failed", message: "no such server" });
});

test("a lost connection and a closed tab reject what is under way", async () => {
  const tab = await live();
  const lost = assert.rejects(tab.publish("room:1", 1), { code: "connection_lost" });
  await posted();
  relay.socket.drop(1006);
  await lost;
  const closed = assert.rejects(tab.request("greet"), { code: "connection_lost" });
  tab.close();
  await closed;
  await assert.rejects(tab.request("greet"), { code: "not_connected" });
});
