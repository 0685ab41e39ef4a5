// The client against a scripted relay: subscribing, dispatching, losing a connection, reconnecting.

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { connect } from "../../edge/static/relay-client.js";
import { mockClocks } from "./support/clocks.js";
import { event, expiry, ScriptedRelay, settled } from "./support/scripted-relay.js";

const EPOCH = 7;
const MAX_DELAY_MS = 3000;
const SILENCE_MS = 30_000;
const ANSWER_MS = 10_000;

/** @type {ScriptedRelay} */
let relay;
/** @type {import("../../edge/static/relay-client.js").RelayClient[]} */
let clients;

beforeEach(() => {
  mockClocks(1_790_000_000_000);
  relay = new ScriptedRelay();
  clients = [];
});

afterEach(() => {
  for (const client of clients) client.close();
  mock.timers.reset();
  mock.restoreAll();
});

/** @param {Partial<import("../../edge/static/relay-client.js").ConnectOptions>} [options] */
async function connected(options) {
  const client = connect({ url: "ws://relay/ws", WebSocket: relay.WebSocket, ...options });
  clients.push(client);
  await settled();
  return client;
}

/** @param {Partial<import("../../edge/static/relay-client.js").ConnectOptions>} [options] */
async function live(options) {
  const client = await connected(options);
  relay.admit();
  assert.equal(client.state.name, "live");
  return client;
}

/** Lets the longest usual delay pass, and the attempt that it starts. */
async function passRetryDelay(ms = MAX_DELAY_MS) {
  mock.timers.tick(ms);
  await settled();
}

function silenceReports() {
  return mock.method(console, "error", () => {});
}

test("the first message authenticates; without a token callback it uses the cookie", async () => {
  const client = await connected();
  client.subscribe("event:*", () => {});
  relay.socket.open();
  assert.deepEqual(relay.socket.sent, [{ action: "authenticate", token: "", id: 1 }]);
});

test("the client is live when it is authenticated and every subscription is answered, not before", async () => {
  const client = await connected();
  client.subscribe("event:*", () => {});
  client.subscribe("resource-monitor:survival", () => {});
  relay.socket.open();
  relay.answer({ username: "alice", expires_at: 2_000_000_000 });
  assert.equal(client.state.name, "connecting");
  assert.equal(relay.answer().topic, "event:*");
  assert.equal(client.state.name, "connecting");
  assert.equal(relay.answer().topic, "resource-monitor:survival");
  assert.deepEqual(client.state, { name: "live", username: "alice" });
});

test("a refused subscription is reported, and the others become live", async () => {
  const client = await connected();
  /** @type {unknown[]} */
  const errors = [];
  client.onError((error) => errors.push(error));
  client.subscribe("task:*", () => {});
  relay.socket.open();
  relay.answer({ username: "alice" });
  relay.answer({ status: "error", code: "forbidden", message: "Not allowed", action: undefined });
  assert.equal(client.state.name, "live");
  assert.deepEqual(errors, [
    { code: "forbidden", message: "Not allowed", action: "subscribe", topic: "task:*" },
  ]);
});

test("handlers of one pattern share one subscription, which ends with the last of them", async () => {
  const client = await live();
  /** @type {string[]} */
  const heard = [];
  const stopFirst = client.subscribe("event:a", () => heard.push("first"));
  const stopSecond = client.subscribe("event:a", () => heard.push("second"));
  relay.answerAll();
  relay.socket.say(event("event:a"));
  stopFirst();
  stopFirst();
  relay.socket.say(event("event:a"));
  stopSecond();
  relay.socket.say(event("event:a"));
  assert.deepEqual(heard, ["first", "second", "second"]);
  const actions = relay.socket.sent.slice(1).map(({ action, topic }) => `${action} ${topic}`);
  assert.deepEqual(actions, ["subscribe event:a", "unsubscribe event:a"]);
});

test("a message that several patterns match reaches each handler once", async () => {
  const client = await live();
  /** @type {string[]} */
  const heard = [];
  for (const pattern of ["*", "event:*", "event:after_backup", "event:before_*"]) {
    client.subscribe(pattern, () => heard.push(pattern));
  }
  relay.socket.say(event("event:after_backup"));
  assert.deepEqual(heard, ["*", "event:*", "event:after_backup"]);
});

test("tasks come without a subscription", async () => {
  const client = await live();
  /** @type {string[]} */
  const tasks = [];
  const stop = client.onTask((message) => tasks.push(`${message.topic} ${message.data.status}`));
  const update = event("task:7f", { type: "task_update", data: { status: "success" } });
  relay.socket.say(update);
  stop();
  relay.socket.say(update);
  assert.deepEqual(tasks, ["task:7f success"]);
});

test("an error in a handler is reported, and the other handlers get the message", async () => {
  const reports = silenceReports();
  const client = await live();
  const fault = new Error("in the page");
  let heard = 0;
  client.subscribe("event:*", () => {
    throw fault;
  });
  client.subscribe("event:*", () => (heard += 1));
  relay.socket.say(event("event:a"));
  assert.equal(heard, 1);
  assert.deepEqual(reports.mock.calls[0]?.arguments, [fault]);
});

test("text that is not JSON is reported and does not end the connection", async () => {
  const reports = silenceReports();
  const client = await live();
  relay.socket.onmessage?.({ data: "{" });
  assert.equal(reports.mock.callCount(), 1);
  assert.equal(client.state.name, "live");
});

test("after a lost connection the client reconnects and subscribes to the remaining patterns", async () => {
  const client = await live();
  client.subscribe("event:a", () => {});
  const stop = client.subscribe("event:b", () => {});
  relay.answerAll();
  relay.socket.drop(1006);
  stop();
  assert.equal(client.state.name, "waiting");
  await passRetryDelay();
  assert.equal(relay.sockets.length, 2);
  relay.admit();
  assert.deepEqual(
    relay.socket.sent.map(({ action, topic }) => [action, topic]),
    [
      ["authenticate", undefined],
      ["subscribe", "event:a"],
    ],
  );
  assert.equal(client.state.name, "live");
});

test("the delays grow with each failure, and start small again after a live connection", async () => {
  mock.method(Math, "random", () => 1);
  const client = await live();
  const delays = [];
  for (let failure = 0; failure < 6; failure += 1) {
    relay.socket.drop(1006);
    assert.equal(client.state.name, "waiting");
    const delayMs = client.state.name === "waiting" ? client.state.retryAt - Date.now() : -1;
    delays.push(delayMs);
    await passRetryDelay(delayMs);
  }
  assert.deepEqual(delays, [250, 500, 1000, 2000, 3000, 3000]);
  relay.admit();
  relay.socket.drop(1006);
  assert.equal(client.state.name === "waiting" && client.state.retryAt - Date.now(), 250);
});

test("the reason of the loss stays known during further attempts", async () => {
  const client = await live();
  relay.socket.drop(4013, "edge has lost the relay");
  await passRetryDelay();
  assert.deepEqual(client.state, {
    name: "connecting",
    code: 4013,
    reason: "edge has lost the relay",
  });
});

test("a busy server names the delay", async () => {
  mock.method(Math, "random", () => 0.5);
  const client = await live();
  relay.socket.drop(4013, "overloaded, retry in 4 s");
  assert.equal(client.state.name === "waiting" && client.state.retryAt - Date.now(), 6000);
});

for (const code of [1002, 1003, 1007, 1009]) {
  test(`${code} is a fault of the client, which stops for good`, async () => {
    const client = await live();
    relay.socket.drop(code, "why");
    await passRetryDelay(60_000);
    assert.deepEqual(client.state, { name: "closed", code, reason: "why" });
    assert.equal(relay.sockets.length, 1);
  });
}

for (const code of [4009, 4029]) {
  test(`after ${code} the client waits at least the longest usual delay`, async () => {
    mock.method(Math, "random", () => 0);
    await live();
    relay.socket.drop(code);
    await passRetryDelay(MAX_DELAY_MS - 1);
    assert.equal(relay.sockets.length, 1);
    await passRetryDelay(1);
    assert.equal(relay.sockets.length, 2);
  });
}

test("1008 without a token callback ends in unauthenticated until retry()", async () => {
  const client = await connected();
  relay.socket.open();
  relay.socket.drop(1008, "Missing token");
  await passRetryDelay(60_000);
  assert.deepEqual(client.state, { name: "unauthenticated", code: 1008, reason: "Missing token" });
  assert.equal(relay.sockets.length, 1);
  client.retry();
  await settled();
  relay.admit();
  assert.equal(client.state.name, "live");
});

test("1008 with a token callback requests one new token, and only one", async () => {
  let asked = 0;
  const client = await connected({ token: () => `token-${++asked}` });
  relay.socket.open();
  relay.socket.drop(1008, "Invalid token");
  await passRetryDelay();
  relay.socket.open();
  assert.equal(relay.socket.sent[0]?.token, "token-2");
  relay.socket.drop(1008, "Invalid token");
  await passRetryDelay(60_000);
  assert.equal(client.state.name, "unauthenticated");
  assert.equal(asked, 2);
});

test("after 4001 the client reconnects with a new token", async () => {
  let asked = 0;
  const client = await live({ token: async () => `token-${++asked}` });
  relay.socket.drop(4001);
  await passRetryDelay();
  relay.admit();
  assert.equal(relay.socket.sent[0]?.token, "token-2");
  assert.equal(client.state.name, "live");
});

test("a token is renewed on the same connection before it expires", async () => {
  let asked = 0;
  const client = await connected({ token: () => `token-${++asked}` });
  relay.admit("alice", 20);
  await passRetryDelay(15_999);
  assert.equal(asked, 1);
  await passRetryDelay(1);
  const renewal = relay.answer({ username: "alice", ...expiry(20) });
  assert.deepEqual([renewal.action, renewal.token], ["authenticate", "token-2"]);
  assert.equal(client.state.name, "live");
  assert.equal(relay.sockets.length, 1);
  await passRetryDelay(16_000);
  assert.equal(asked, 3);
});

test("a failed token callback is repeated like a lost connection", async () => {
  const reports = silenceReports();
  let asked = 0;
  const client = await connected({
    token: () => {
      asked += 1;
      if (asked === 1) throw new Error("no network");
      return "token";
    },
  });
  assert.equal(client.state.name, "waiting");
  assert.equal(reports.mock.callCount(), 1);
  await passRetryDelay();
  relay.admit();
  assert.equal(client.state.name, "live");
});

test("a connection that does not become live is given up", async () => {
  const client = await connected();
  mock.timers.tick(10_000);
  assert.equal(client.state.name, "waiting");
  assert.equal(relay.socket.wasClosedByClient, true);
});

test("when the network returns the client connects at once", async () => {
  const network = new EventTarget();
  const globals = /** @type {Record<string, unknown>} */ (globalThis);
  globals.addEventListener = network.addEventListener.bind(network);
  try {
    mock.method(Math, "random", () => 1);
    await live();
    relay.socket.drop(1006);
    network.dispatchEvent(new Event("online"));
    await settled();
    assert.equal(relay.sockets.length, 2);
  } finally {
    Reflect.deleteProperty(globals, "addEventListener");
  }
});

test("a page that becomes visible connects at once; a hidden one does not", async () => {
  const page = Object.assign(new EventTarget(), { visibilityState: "hidden" });
  Object.defineProperty(globalThis, "document", { value: page, configurable: true });
  try {
    mock.method(Math, "random", () => 1);
    await live();
    relay.socket.drop(1006);
    page.dispatchEvent(new Event("visibilitychange"));
    await settled();
    assert.equal(relay.sockets.length, 1);
    page.visibilityState = "visible";
    page.dispatchEvent(new Event("visibilitychange"));
    await settled();
    assert.equal(relay.sockets.length, 2);
  } finally {
    Reflect.deleteProperty(globalThis, "document");
  }
});

test("after close() the client stays closed", async () => {
  const client = await live();
  /** @type {string[]} */
  const states = [];
  client.onState((state) => states.push(state.name));
  client.close();
  client.close();
  client.retry();
  await passRetryDelay(60_000);
  assert.deepEqual(states, ["live", "closed"]);
  assert.equal(relay.sockets.length, 1);
  assert.equal(relay.socket.wasClosedByClient, true);
});

test("messages of an abandoned socket are ignored", async () => {
  const client = await live();
  let heard = 0;
  client.subscribe("event:*", () => (heard += 1));
  const old = relay.socket;
  mock.timers.tick(SILENCE_MS);
  mock.timers.tick(ANSWER_MS);
  old.say(event("event:a"));
  old.drop(1003);
  assert.equal(heard, 0);
  assert.equal(client.state.name, "waiting");
});

test("the position follows replies, events and position messages, under one epoch", async () => {
  const client = await live();
  client.subscribe("event:*", () => {});
  relay.answer({ epoch: EPOCH, position: { event: 40 } });
  relay.socket.say(event("event:a", { offset: 41 }));
  relay.socket.say(event("task:1", { offset: 7, type: "task_update" }));
  relay.socket.say(event("resource-monitor:a"));
  assert.deepEqual(client.position, { epoch: EPOCH, position: { event: 41, task: 7 } });
  relay.socket.say({ type: "position", epoch: EPOCH, position: { event: 60, task: 7 } });
  assert.deepEqual(client.position, { epoch: EPOCH, position: { event: 60, task: 7 } });
  relay.socket.say({ type: "position", epoch: EPOCH + 1, position: { event: 2 } });
  assert.deepEqual(client.position, { epoch: EPOCH + 1, position: { event: 2 } });
});

/** @param {import("../../edge/static/relay-client.js").RelayClient} client */
function restartsOf(client) {
  /** @type {import("../../edge/static/relay-client.js").RelayRestart[]} */
  const restarts = [];
  client.onRestart((restart) => restarts.push(restart));
  return restarts;
}

test("a new epoch on the same connection is reported once", async () => {
  const client = await live();
  const restarts = restartsOf(client);
  client.subscribe("event:*", () => {});
  relay.answer({ epoch: EPOCH, position: { event: 40 } });
  relay.socket.say({ type: "position", epoch: EPOCH, position: { event: 41 } });
  assert.deepEqual(restarts, [], "the first epoch is no change, the same one neither");
  for (let time = 0; time < 2; time += 1) {
    relay.socket.say({ type: "position", epoch: EPOCH + 1, position: { event: 1 } });
  }
  client.subscribe("event:a", () => {});
  relay.answer({ epoch: EPOCH + 1, position: { event: 1 } });
  assert.deepEqual(restarts, [{ epoch: EPOCH + 1, previousEpoch: EPOCH }]);
  assert.equal(client.state.name, "live");
});

test("a new epoch after a lost connection is reported once, with any subscriptions", async () => {
  const client = await live();
  const restarts = restartsOf(client);
  for (const pattern of ["event:a", "event:b"]) {
    client.subscribe(pattern, () => {});
    relay.answer({ epoch: EPOCH, position: { event: 40 } });
  }
  relay.socket.drop(4013);
  await passRetryDelay();
  relay.socket.open();
  relay.answer({ username: "alice" });
  for (let time = 0; time < 2; time += 1) relay.answer({ epoch: "next", position: { event: 0 } });
  assert.deepEqual(restarts, [{ epoch: "next", previousEpoch: EPOCH }]);
  assert.deepEqual(client.position, { epoch: "next", position: { event: 0 } });
});

test("a lost connection alone is no restart, and a removed handler gets none", async () => {
  const client = await live();
  const restarts = restartsOf(client);
  let calls = 0;
  const stop = client.onRestart(() => (calls += 1));
  relay.socket.say({ type: "position", epoch: EPOCH, position: {} });
  relay.socket.drop(1006);
  await passRetryDelay();
  relay.admit();
  relay.socket.say({ type: "position", epoch: EPOCH, position: {} });
  assert.deepEqual(restarts, []);
  stop();
  relay.socket.say({ type: "position", epoch: EPOCH + 1, position: {} });
  assert.deepEqual([restarts.length, calls], [1, 0]);
});

test("an error of the socket is always listened to, also on one that was given up", async () => {
  const client = await connected();
  const { socket } = relay;
  assert.equal(typeof socket.onerror, "function");
  client.close();
  assert.equal(typeof socket.onerror, "function", "`ws` ends the process otherwise");
});
