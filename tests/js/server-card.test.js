// The contents of a server's card, second by second, from the messages of its manager and its process.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { cardView } from "../../edge/static/server-card.js";
import { momentOf, ServerList } from "../../edge/static/server-list.js";
import { event } from "./support/scripted-relay.js";

const READING = { cpuPercent: 3, memoryMb: 220, pid: 42, uptime: "0:10:02" };
const START_MS = 100_000;

/** @type {ServerList} */
let list;
/** @type {import("../../edge/static/server-card.js").Heard} */
let heard;

beforeEach(() => {
  list = new ServerList();
  heard = { latest: null, watchedSince: START_MS, listeningSince: START_MS };
});

/** @param {number} second @param {string} status @param {number | null} [pid] */
function listAt(second, status, pid = 42) {
  const at = START_MS + second * 1000;
  const data = { servers: [{ name: "lobby", status, pid }] };
  list.apply(event("event:after_server_statuses_updated", { data, emitted_at: at }), at);
}

/** @param {number} second @param {string} step */
function eventAt(second, step) {
  const at = START_MS + second * 1000;
  const data = { server_name: "lobby" };
  list.apply(event(`event:${step}`, { data, emitted_at: at }), at);
}

/**
 * @param {number} second when it arrives
 * @param {typeof READING | null} [reading]
 * @param {number} [emittedSecond]
 */
function readAt(second, reading = READING, emittedSecond = second) {
  const message = event("resource-monitor:lobby", { emitted_at: START_MS + emittedSecond * 1000 });
  heard.latest = { reading, moment: momentOf(message, START_MS + second * 1000) };
}

/** @param {number} second */
function cardAt(second) {
  const server = list.get("lobby");
  assert.ok(server);
  return cardView(server, heard, START_MS + second * 1000);
}

/** @param {number} second */
function claimAt(second) {
  const { status, tone, reading, pid } = cardAt(second);
  return [status, tone, reading?.memoryMb ?? null, pid];
}

test("a card with a fresh reading shows status and numbers", () => {
  listAt(0, "RUNNING", 41);
  assert.deepEqual(claimAt(0.5), ["Running", "good", null, 41]);
  readAt(1);
  assert.deepEqual(cardAt(2), {
    status: "Running",
    tone: "good",
    reading: READING,
    pid: 42,
    note: "",
  });
});

for (const status of ["RUNNING", "STARTING", "STOPPING", ""]) {
  test(`6 s after its manager was killed, a card with "${status}" shows no signal and no numbers`, () => {
    listAt(10, status);
    readAt(10);
    assert.equal(cardAt(14).status === "No signal", false);
    assert.deepEqual(cardAt(15.5), {
      status: "No signal",
      tone: "warning",
      reading: null,
      pid: null,
      note: "No reading for 5 s",
    });
    assert.equal(cardAt(30).note, "No reading for 20 s, manager-1 is silent");
    assert.equal(cardAt(30).status, "No signal");
  });
}

test("a reading or a status ends the lack of signal", () => {
  listAt(0, "RUNNING");
  readAt(0);
  assert.equal(cardAt(7).status, "No signal");
  listAt(8, "RUNNING");
  assert.deepEqual(claimAt(8), ["Running", "good", null, 42]);
  assert.equal(cardAt(8).note, "No reading for 8 s");
  assert.equal(cardAt(14).status, "No signal");
  readAt(15);
  assert.deepEqual(claimAt(15), ["Running", "good", 220, 42]);
  assert.equal(cardAt(15).note, "");
});

test("a manager's list is a signal even without a reading", () => {
  readAt(0);
  for (let second = 0; second < 60; second += 1) {
    if (second % 5 === 0) listAt(second, "RUNNING");
    assert.equal(cardAt(second + 0.4).status, "Running", String(second));
  }
});

test("a card out of view uses its manager's lists", () => {
  heard.watchedSince = null;
  listAt(0, "RUNNING");
  assert.equal(cardAt(15).status, "Running");
  assert.equal(cardAt(17).status, "No signal");
  heard.watchedSince = START_MS + 20_000;
  assert.equal(cardAt(20).status, "No signal", "nor does coming into view make it run");
});

test("readings from before a card was out of view are not shown as present", () => {
  readAt(0);
  for (let second = 0; second <= 60; second += 5) listAt(second, "RUNNING");
  heard.watchedSince = START_MS + 60_000;
  assert.deepEqual(claimAt(60), ["Running", "good", null, 42]);
});

for (const [status, tone] of [
  ["Stopped", "quiet"],
  ["Crashed", "bad"],
]) {
  test(`a card shows no reading after ${status}`, () => {
    listAt(0, "RUNNING");
    readAt(1);
    listAt(1.5, String(status).toUpperCase());
    assert.deepEqual(cardAt(1.5), { status, tone, reading: null, pid: null, note: "Not running" });
    readAt(2);
    assert.deepEqual(claimAt(2), [status, tone, null, null]);
    assert.deepEqual(claimAt(60), [status, tone, null, null]);
  });
}

test("a card shows no reading after a stop that only an event reports", () => {
  listAt(0, "RUNNING");
  readAt(1);
  eventAt(1.5, "before_server_stop");
  assert.deepEqual(claimAt(1.6), ["Stopping", "busy", 220, 42]);
  eventAt(2, "after_server_stop");
  assert.deepEqual(claimAt(2), ["Stopped", "quiet", null, null]);
});

test("a card of an ended process shows no numbers, before its manager reports the reason", () => {
  listAt(0, "RUNNING");
  readAt(1);
  readAt(2, null);
  assert.deepEqual(cardAt(2), {
    status: "Not running",
    tone: "quiet",
    reading: null,
    pid: null,
    note: "Not running",
  });
});

test("a restarted server shows no numbers of the earlier process", () => {
  listAt(0, "RUNNING");
  readAt(1);
  eventAt(2, "after_server_stop");
  eventAt(3, "before_server_start");
  assert.deepEqual(claimAt(3), ["Starting", "busy", null, null]);
  readAt(3.1, READING, 1.9);
  assert.deepEqual(claimAt(3.2), ["Starting", "busy", null, null], "a late one neither");
  assert.equal(cardAt(3.2).note, "Waiting for the first reading");
  readAt(3.5, { ...READING, pid: 43 });
  eventAt(4, "after_server_start");
  assert.deepEqual(claimAt(4), ["Running", "good", 220, 43]);
});

test("a reading without a process during the start does not contradict a later run", () => {
  eventAt(0, "before_server_start");
  readAt(0.5, null);
  assert.deepEqual(claimAt(0.5), ["Starting", "busy", null, null]);
  eventAt(1, "after_server_start");
  assert.deepEqual(claimAt(1), ["Running", "good", null, null]);
});

test("the time before a start does not count as silence", () => {
  listAt(98, "STOPPED", null);
  eventAt(100, "before_server_start");
  assert.equal(cardAt(101).note, "Waiting for the first reading");
});

test("an event of a manager without lists is a signal for some seconds", () => {
  heard.watchedSince = null;
  listAt(0, "STOPPED", null);
  eventAt(100, "after_server_start");
  assert.equal(cardAt(101).status, "Running");
  assert.equal(cardAt(106).status, "No signal");
});
