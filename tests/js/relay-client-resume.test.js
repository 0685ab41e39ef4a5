// The client against a scripted relay: resuming, repeats, backlogs, gaps.

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { connect } from "../../edge/static/relay-client.js";
import { mockClocks } from "./support/clocks.js";
import { event, ScriptedRelay, settled } from "./support/scripted-relay.js";

/**
 * @typedef {import("../../edge/static/relay-client.js").RelayClient} RelayClient
 * @typedef {import("../../edge/static/relay-client.js").StreamGap} StreamGap
 * @typedef {import("./support/scripted-relay.js").Message} Message
 */

const EPOCH = 7;
const NEXT_EPOCH = 8;
const MAX_DELAY_MS = 3000;
const ATTEMPT_TIMEOUT_MS = 10_000;
const CATCH_UP_TIMEOUT_MS = 45_000;

/** @type {ScriptedRelay} */
let relay;
/** @type {RelayClient} */
let client;

beforeEach(async () => {
  mockClocks(1_790_000_000_000);
  relay = new ScriptedRelay();
  client = connect({ url: "ws://relay/ws", WebSocket: relay.WebSocket });
  await settled();
  relay.admit();
});

afterEach(() => {
  client.close();
  mock.timers.reset();
});

/** Subscribes and sends the reply. @param {string} pattern @param {Message} position */
function subscribed(pattern, position) {
  /** @type {(number | undefined)[]} */
  const heard = [];
  const unsubscribe = client.subscribe(pattern, ({ offset }) => heard.push(offset));
  relay.answer({ epoch: EPOCH, position });
  return { heard, unsubscribe };
}

/** Loses the connection and authenticates the next one. */
async function comeBack(code = 1006) {
  relay.socket.drop(code);
  mock.timers.tick(MAX_DELAY_MS);
  await settled();
  relay.socket.open();
  relay.answer({ username: "alice" });
}

/** @param {number} from @param {number} to @param {string} [topic] */
function say(from, to, topic = "event:a") {
  for (let offset = from; offset <= to; offset += 1) relay.socket.say(event(topic, { offset }));
}

/** @param {Message} fields @param {string} [topic] */
function sayTask(fields, topic = "task:1") {
  relay.socket.say(event(topic, { type: "task_update", ...fields }));
}

/** The requests of the newest connection after the authentication. */
function asked() {
  return relay.socket.sent.slice(1).map(({ id: _, ...request }) => request);
}

function tasksHeard() {
  /** @type {(number | undefined)[]} */
  const offsets = [];
  client.onTask(({ offset }) => offsets.push(offset));
  return offsets;
}

function gapsTold() {
  /** @type {StreamGap[]} */
  const gaps = [];
  client.onGap((gap) => gaps.push(gap));
  return gaps;
}

test("a subscription resumes after the last received message", async () => {
  const { heard } = subscribed("event:*", { event: 40 });
  say(41, 43);
  await comeBack();
  assert.deepEqual(asked(), [
    { action: "subscribe", topic: "event:*", since: { event: 43 }, epoch: EPOCH },
  ]);
  say(44, 46);
  assert.equal(client.state.name, "connecting", "it is still catching up");
  relay.answer({ epoch: EPOCH, position: { event: 46 }, recovered: true });
  say(47, 47);
  assert.equal(client.state.name, "live");
  assert.deepEqual(heard, [41, 42, 43, 44, 45, 46, 47]);
});

test("a kind alone resumes in the stream of that kind", async () => {
  for (const pattern of ["app_log", "app_logs", "app_log:*"]) {
    subscribed(pattern, { app_log: 40 });
  }
  await comeBack();
  assert.deepEqual(
    asked().map(({ topic, since }) => [topic, since]),
    [
      ["app_logs", undefined],
      ["app_log", { app_log: 40 }],
      ["app_log:*", { app_log: 40 }],
    ],
  );
});

test("several subscriptions resume together, each with its own streams", async () => {
  for (const pattern of ["event:a", "audit:*", "au*", "*"]) {
    subscribed(pattern, { event: 40, audit: 5 });
  }
  await comeBack();
  const since = { event: 40, audit: 5 };
  const resume = { action: "subscribe", epoch: EPOCH };
  assert.deepEqual(asked(), [
    { ...resume, topic: "event:a", since: { event: 40 }, more: true },
    { ...resume, topic: "audit:*", since: { audit: 5 }, more: true },
    { ...resume, topic: "au*", since: { audit: 5 }, more: true },
    { ...resume, topic: "*", since },
  ]);
});

test("a pattern without a stream is subscribed anew, before the others catch up", async () => {
  subscribed("event:*", { event: 40 });
  subscribed("resource-monitor:survival", {});
  await comeBack();
  assert.deepEqual(
    asked().map(({ topic, since }) => [topic, since]),
    [
      ["resource-monitor:survival", undefined],
      ["event:*", { event: 40 }],
    ],
  );
});

test("a subscription made while offline begins after the others have caught up", async () => {
  const old = subscribed("event:a", { event: 40 });
  relay.socket.drop(1006);
  /** @type {(number | undefined)[]} */
  const heard = [];
  client.subscribe("event:b", ({ offset }) => heard.push(offset));
  await comeBack();
  client.subscribe("event:c", () => {});
  assert.deepEqual(asked().map(({ topic }) => topic), ["event:a"]);
  say(41, 42);
  relay.answer({ epoch: EPOCH, position: { event: 44 } });
  assert.deepEqual(asked().slice(1), [
    { action: "subscribe", topic: "event:b" },
    { action: "subscribe", topic: "event:c" },
  ]);
  assert.equal(client.state.name, "connecting");
  for (let time = 0; time < 2; time += 1) relay.answer({ epoch: EPOCH, position: { event: 44 } });
  say(45, 45, "event:b");
  assert.equal(client.state.name, "live");
  assert.deepEqual([old.heard, heard], [[41, 42], [45]]);
});

test("a subscription that was never confirmed begins anew", async () => {
  subscribed("event:a", { event: 40 });
  client.subscribe("event:b", () => {});
  await comeBack();
  relay.answer({ epoch: EPOCH, position: { event: 40 } });
  assert.deepEqual(asked().at(-1), { action: "subscribe", topic: "event:b" });
});

test("a subscription that was ended and made again while offline begins anew", async () => {
  const { unsubscribe } = subscribed("event:a", { event: 40 });
  relay.socket.drop(1006);
  unsubscribe();
  client.subscribe("event:a", () => {});
  await comeBack();
  assert.deepEqual(asked(), [{ action: "subscribe", topic: "event:a" }]);
});

test("a refused subscription is not repeated on this connection, nor resumed on the next", async () => {
  subscribed("event:a", { event: 40 });
  subscribed("audit:*", { audit: 5 });
  await comeBack();
  relay.answer({ epoch: EPOCH, position: { event: 40 } });
  relay.answer({ status: "error", code: "forbidden", message: "No", action: undefined });
  assert.equal(client.state.name, "live");
  client.subscribe("event:b", () => {});
  assert.deepEqual(asked().map(({ topic }) => topic), ["event:a", "audit:*", "event:b"]);
  await comeBack();
  assert.equal(relay.socket.sent.find(({ topic }) => topic === "audit:*"), undefined);
  relay.answer({ epoch: EPOCH, position: { event: 40 } });
  assert.deepEqual(asked()[1], { action: "subscribe", topic: "audit:*" });
});

test("an interrupted catch-up resumes at its position", async () => {
  const { heard } = subscribed("event:*", { event: 40 });
  await comeBack();
  say(41, 50);
  await comeBack();
  assert.deepEqual(asked()[0]?.since, { event: 50 });
  say(51, 52);
  assert.deepEqual(heard, [41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52]);
});

test("a catch-up may take long, but a silent one is given up", async () => {
  const { heard } = subscribed("event:*", { event: 40 });
  await comeBack();
  for (let offset = 41; offset < 45; offset += 1) {
    mock.timers.tick(CATCH_UP_TIMEOUT_MS - 1);
    say(offset, offset);
  }
  assert.deepEqual(heard, [41, 42, 43, 44], "the connection was not given up in between");
  assert.equal(client.state.name, "connecting");
  mock.timers.tick(CATCH_UP_TIMEOUT_MS);
  assert.equal(client.state.name, "waiting");
});

test("without a catch-up the reply must come soon", async () => {
  client.close();
  client = connect({ url: "ws://relay/ws", WebSocket: relay.WebSocket });
  await settled();
  relay.socket.open();
  client.subscribe("event:*", () => {});
  mock.timers.tick(ATTEMPT_TIMEOUT_MS - 1);
  relay.answer({ username: "alice" });
  mock.timers.tick(ATTEMPT_TIMEOUT_MS - 1);
  assert.equal(client.state.name, "connecting");
  mock.timers.tick(1);
  assert.equal(client.state.name, "waiting");
});

test("an event with an offset up to the position is a repeat, and no handler gets it", async () => {
  const { heard } = subscribed("event:*", { event: 40 });
  say(41, 42);
  say(41, 43);
  await comeBack();
  say(43, 44);
  relay.answer({ epoch: EPOCH, position: { event: 44 } });
  say(44, 45);
  assert.deepEqual(heard, [41, 42, 43, 44, 45]);
});

test("a position that comes before the end of a catch-up does not skip events", async () => {
  const { heard } = subscribed("event:*", { event: 40 });
  relay.socket.drop(1006);
  mock.timers.tick(MAX_DELAY_MS);
  await settled();
  relay.socket.open();
  const ahead = { type: "position", epoch: EPOCH, position: { event: 50, task: 9 } };
  relay.socket.say(ahead);
  relay.answer({ username: "alice" });
  relay.socket.say(ahead);
  assert.deepEqual(asked()[0]?.since, { event: 40 });
  assert.deepEqual(client.position.position, { event: 40, task: 9 });
  say(41, 42);
  assert.deepEqual(heard, [41, 42]);
});

test("a new epoch during a catch-up takes effect at once", async () => {
  const { heard } = subscribed("event:*", { event: 40 });
  relay.socket.drop(1006);
  mock.timers.tick(MAX_DELAY_MS);
  await settled();
  relay.socket.open();
  relay.answer({ username: "alice" });
  relay.socket.say({ type: "position", epoch: NEXT_EPOCH, position: {} });
  say(1, 2);
  assert.deepEqual(heard, [1, 2]);
  assert.deepEqual(client.position, { epoch: NEXT_EPOCH, position: { event: 2 } });
});

test("a page that was asleep resumes at its position", async () => {
  const page = Object.assign(new EventTarget(), { visibilityState: "visible" });
  Object.defineProperty(globalThis, "document", { value: page, configurable: true });
  try {
    client.close();
    client = connect({ url: "ws://relay/ws", WebSocket: relay.WebSocket });
    await settled();
    relay.admit();
    subscribed("event:*", { event: 40 });
    mock.method(Math, "random", () => 1);
    relay.socket.drop(1006);
    page.dispatchEvent(new Event("visibilitychange"));
    await settled();
    relay.socket.open();
    relay.answer({ username: "alice" });
    assert.deepEqual(asked()[0]?.since, { event: 40 });
  } finally {
    mock.restoreAll();
    Reflect.deleteProperty(globalThis, "document");
  }
});

// ---- The newest messages, requested with `last` ----

test("the newest messages are requested once, and handlers get them with the reply", async () => {
  /** @type {(number | undefined)[]} */
  const heard = [];
  client.subscribe("event:*", ({ offset }) => heard.push(offset), { last: 3 });
  client.subscribe("event:*", () => {}, { last: 99 });
  assert.deepEqual(asked(), [{ action: "subscribe", topic: "event:*", last: 3 }]);
  say(38, 40);
  assert.deepEqual(heard, []);
  relay.answer({ epoch: EPOCH, position: { event: 40 } });
  say(41, 41);
  assert.deepEqual(heard, [38, 39, 40, 41]);
  await comeBack();
  assert.deepEqual(asked(), [
    { action: "subscribe", topic: "event:*", since: { event: 41 }, epoch: EPOCH },
  ]);
});

test("a pattern without a stream does not request the newest messages again", async () => {
  client.subscribe("resource-monitor:a", () => {}, { last: 3 });
  relay.answer({ epoch: EPOCH, position: {} });
  await comeBack();
  assert.deepEqual(asked(), [{ action: "subscribe", topic: "resource-monitor:a" }]);
});

test("if the connection is lost amid the newest messages, none of them comes twice", async () => {
  subscribed("audit:*", { audit: 5 });
  /** @type {(number | undefined)[]} */
  const heard = [];
  client.subscribe("event:*", ({ offset }) => heard.push(offset), { last: 3 });
  say(38, 39);
  await comeBack();
  relay.answer({ epoch: EPOCH, position: { audit: 5 } });
  assert.deepEqual(asked().at(-1), { action: "subscribe", topic: "event:*", last: 3 });
  say(38, 40);
  relay.answer({ epoch: EPOCH, position: { event: 40 } });
  assert.deepEqual(heard, [38, 39, 40]);
});

test("older messages reach only the pattern that requested them, in order", async () => {
  const narrow = subscribed("event:a", { event: 40 });
  /** @type {(number | undefined)[]} */
  const heard = [];
  client.subscribe("event:*", ({ offset }) => heard.push(offset), { last: 3 });
  say(41, 41, "event:a");
  say(39, 40, "event:a");
  relay.answer({ epoch: EPOCH, position: { event: 41 } });
  say(40, 40, "event:a");
  assert.deepEqual([narrow.heard, heard], [[41], [39, 40, 41]]);
});

test("a message that comes live and among the newest ones is passed once", async () => {
  const wide = subscribed("event:*", { event: 40 });
  /** @type {(number | undefined)[]} */
  const heard = [];
  client.subscribe("event:a", ({ offset }) => heard.push(offset), { last: 3 });
  say(41, 41);
  say(39, 41);
  say(42, 42);
  relay.answer({ epoch: EPOCH, position: { event: 42 } });
  assert.deepEqual([wide.heard, heard], [[41, 42], [39, 40, 41, 42]]);
});

test("live values do not wait for the newest messages", () => {
  let values = 0;
  client.subscribe("*", () => (values += 1), { last: 3 });
  relay.socket.say(event("resource-monitor:survival", { type: "resource_update" }));
  assert.equal(values, 1);
});

// ---- Tasks ----

test("the URL has the position of the tasks", async () => {
  sayTask({ offset: 70 });
  assert.equal(relay.socket.url, "ws://relay/ws");
  subscribed("event:*", { event: 40 });
  await comeBack();
  assert.equal(relay.socket.url, "ws://relay/ws", "no task position is known under this epoch");
  relay.answerAll();
  sayTask({ offset: 77 });
  await comeBack();
  assert.equal(relay.socket.url, `ws://relay/ws?epoch=${EPOCH}&task=77`);
});

test("a URL with a query keeps it", async () => {
  client.close();
  client = connect({ url: "ws://relay/ws?token=x", WebSocket: relay.WebSocket });
  await settled();
  relay.admit();
  relay.socket.say({ type: "position", epoch: EPOCH, position: { task: 77 } });
  await comeBack();
  assert.equal(relay.socket.url, `ws://relay/ws?token=x&epoch=${EPOCH}&task=77`);
});

test("a retained state reaches the handlers and does not move the position", () => {
  const tasks = tasksHeard();
  relay.socket.say({ type: "position", epoch: EPOCH, position: { event: 40 } });
  sayTask({ offset: 75, retained: true });
  sayTask({ offset: 70, retained: true }, "task:2");
  assert.deepEqual(tasks, [75, 70]);
  assert.deepEqual(client.position.position, { event: 40 });
});

test("a retained state that is known reaches no handler", async () => {
  const tasks = tasksHeard();
  subscribed("event:*", { event: 40 });
  sayTask({ offset: 77 });
  await comeBack();
  relay.answerAll();
  relay.socket.say({ type: "position", epoch: EPOCH, position: { event: 40, task: 77 } });
  sayTask({ offset: 77, retained: true });
  sayTask({ offset: 78, retained: true });
  assert.deepEqual(tasks, [77, 78]);
  assert.equal(client.position.position.task, 77);
});

test("tasks of a new epoch reach the handlers before a message names it, at any offset", async () => {
  const tasks = tasksHeard();
  subscribed("event:*", { event: 40 });
  sayTask({ offset: 77 });
  relay.socket.drop(4013);
  mock.timers.tick(MAX_DELAY_MS);
  await settled();
  relay.socket.open();
  sayTask({ offset: 3, retained: true });
  relay.answer({ username: "alice" });
  sayTask({ offset: 4 });
  relay.answer({ epoch: NEXT_EPOCH, position: { event: 2 }, recovered: false });
  say(3, 3);
  assert.deepEqual(tasks, [77, 3, 4]);
  assert.deepEqual(client.position, { epoch: NEXT_EPOCH, position: { event: 3 } });
});

test("a state with an offset up to the position reaches the handlers, an older one of a known task does not", () => {
  const tasks = tasksHeard();
  relay.socket.say({ type: "position", epoch: EPOCH, position: { event: 40, task: 80 } });
  sayTask({ offset: 75, retained: true });
  sayTask({ offset: 81 });
  sayTask({ offset: 76, retained: true });
  sayTask({ offset: 70, retained: true }, "task:2");
  assert.deepEqual(tasks, [75, 81, 70]);
});

test("a state from an edge that is behind does not follow the task's end", async () => {
  const tasks = tasksHeard();
  subscribed("event:*", { event: 40 });
  sayTask({ offset: 80, data: { status: "success" } });
  relay.socket.drop(1006);
  mock.timers.tick(MAX_DELAY_MS);
  await settled();
  relay.socket.open();
  relay.socket.say({ type: "position", epoch: EPOCH, position: {} });
  sayTask({ offset: 75, data: { status: "in_progress" }, retained: true });
  assert.deepEqual(tasks, [80]);
});

// ---- Lost events ----

test("a gap reaches the handlers, and the position passes it", async () => {
  const gaps = gapsTold();
  subscribed("event:*", { event: 40 });
  await comeBack();
  const gap = { stream: "event", from: 41, to: 47, reason: "retention" };
  relay.socket.say({ type: "gap", ...gap });
  relay.socket.say({ type: "gap", ...gap });
  await comeBack();
  assert.deepEqual(gaps, [gap]);
  assert.deepEqual(asked()[0]?.since, { event: 47 });
});

test("a removed handler gets no gap", () => {
  let calls = 0;
  const stop = client.onGap(() => (calls += 1));
  relay.socket.say({ type: "gap", stream: "event", from: 1, to: 2, reason: "retention" });
  stop();
  relay.socket.say({ type: "gap", stream: "event", from: 3, to: 4, reason: "retention" });
  assert.equal(calls, 1);
});

test("a new epoch is reported once, and handlers get its events from the first on", async () => {
  const { heard } = subscribed("event:*", { event: 40 });
  subscribed("event:a", { event: 40 });
  let restarts = 0;
  client.onRestart(() => (restarts += 1));
  await comeBack();
  for (let time = 0; time < 2; time += 1) {
    relay.answer({ epoch: NEXT_EPOCH, position: { event: 0 }, recovered: false });
  }
  say(1, 2);
  assert.equal(restarts, 1);
  assert.deepEqual(heard, [1, 2]);
});

test("a new epoch is reported only when every subscription is live under it", async () => {
  /** @type {unknown[]} */
  const restarts = [];
  client.onRestart((restart) => restarts.push(restart));
  subscribed("event:*", { event: 40 });
  await comeBack();
  relay.socket.say({ type: "position", epoch: NEXT_EPOCH, position: { task: 3 } });
  assert.deepEqual(restarts, [], "what a page loads now would miss what comes before the answer");
  await comeBack();
  assert.deepEqual(asked(), [{ action: "subscribe", topic: "event:*" }]);
  assert.deepEqual(restarts, []);
  relay.answer({ epoch: NEXT_EPOCH, position: { event: 9 } });
  assert.deepEqual(restarts, [{ epoch: NEXT_EPOCH, previousEpoch: EPOCH }]);
});

test("a new epoch amid a request for the newest messages is reported with its reply", () => {
  let restarts = 0;
  client.onRestart(() => (restarts += 1));
  subscribed("event:*", { event: 40 });
  client.subscribe("event:b", () => {}, { last: 5 });
  relay.socket.say({ type: "position", epoch: NEXT_EPOCH, position: {} });
  assert.equal(restarts, 0);
  relay.answer({ epoch: NEXT_EPOCH, position: { event: 0 }, recovered: false });
  assert.equal(restarts, 1);
});

test("a subscription that the edge has ended is requested again with a new token", () => {
  /** @type {(string | undefined)[]} */
  const refused = [];
  client.onError(({ topic }) => refused.push(topic));
  const { heard } = subscribed("audit:*", { audit: 5 });
  const no = { status: "error", code: "forbidden", message: "No" };
  relay.socket.say({ ...no, topic: "audit:*" });
  assert.deepEqual(refused, ["audit:*"]);
  const before = asked().length;
  client.subscribe("audit:*", () => {});
  assert.equal(asked().length, before);
  relay.socket.say({ status: "success", action: "authenticate", username: "alice" });
  assert.deepEqual(asked().slice(before), [{ action: "subscribe", topic: "audit:*" }]);
  relay.answer({ epoch: EPOCH, position: { audit: 9 } });
  say(10, 10, "audit:a");
  assert.deepEqual(heard, [10]);
});

test("a restart of the relay under the same epoch is not reported", async () => {
  subscribed("event:*", { event: 40 });
  let restarts = 0;
  client.onRestart(() => (restarts += 1));
  await comeBack(4013);
  relay.answer({ epoch: EPOCH, position: { event: 41 }, recovered: true });
  assert.equal(restarts, 0);
});
