import assert from "node:assert/strict";
import { test } from "node:test";

import { EventLog, MAX_EVENTS } from "../../edge/static/event-log.js";
import { RingBuffer } from "../../edge/static/ring-buffer.js";
import { event } from "./support/scripted-relay.js";

/** @param {EventLog} log @param {number} from @param {number} to @param {string} [name] */
function addNumbered(log, from, to, name = "tick") {
  for (let number = from; number <= to; number += 1) {
    log.add(event(`event:${name}`, { data: { number } }), 0);
  }
}

/** @param {EventLog} log */
function shownNumbers(log) {
  return Array.from({ length: log.shownCount }, (_, row) =>
    JSON.parse(log.row(row)?.json ?? "null").number,
  );
}

test("a ring buffer keeps the newest items, oldest first, through many turns", () => {
  const ring = new RingBuffer(3);
  for (let item = 1; item <= 20; item += 1) ring.push(item);
  assert.deepEqual([...ring], [18, 19, 20]);
  assert.equal(ring.at(0), 18);
  assert.equal(ring.at(3), undefined);
  assert.equal(ring.at(-1), undefined);
  assert.equal(ring.shift(), 18);
  ring.push(21);
  assert.deepEqual([...ring], [19, 20, 21]);
});

test("an empty ring buffer returns nothing and stays usable", () => {
  const ring = new RingBuffer(2);
  assert.equal(ring.shift(), undefined);
  assert.equal(ring.length, 0);
  ring.push(1);
  assert.deepEqual([...ring], [1]);
});

test("the newest event is the first row", () => {
  const log = new EventLog();
  addNumbered(log, 1, 3);
  assert.deepEqual(shownNumbers(log), [3, 2, 1]);
});

test("the log holds 10,000 events and drops the oldest", () => {
  const log = new EventLog();
  addNumbered(log, 1, MAX_EVENTS + 5);
  assert.equal(log.heldEvents, 10_000);
  assert.equal(shownNumbers(log)[0], 10_005);
  assert.equal(shownNumbers(log).at(-1), 6);
});

test("the log is bounded in characters as well as in events", () => {
  const log = new EventLog(100, 60);
  addNumbered(log, 10, 19);
  const eachIs = JSON.stringify({ number: 10 }).length;
  assert.equal(log.heldEvents, Math.floor(60 / eachIs));
  assert.equal(shownNumbers(log)[0], 19);
});

test("one event larger than the whole limit is still shown, alone", () => {
  const log = new EventLog(100, 10);
  addNumbered(log, 1, 2);
  assert.deepEqual(shownNumbers(log), [2]);
});

test("the filter searches topic, source and data, in upper and lower case", () => {
  const log = new EventLog();
  log.add(event("event:after_backup", { data: { number: 1 } }), 0);
  log.add(event("event:x", { source: "Backup-Manager", data: { number: 2 } }), 0);
  log.add(event("event:x", { data: { number: 3, file: "BACKUP.zip" } }), 0);
  log.add(event("event:x", { data: { number: 4 } }), 0);
  log.setFilter("  backup ");
  assert.deepEqual(shownNumbers(log), [3, 2, 1]);
  log.add(event("event:before_backup", { data: { number: 5 } }), 0);
  log.add(event("event:other", { data: { number: 6 } }), 0);
  assert.deepEqual(shownNumbers(log), [5, 3, 2, 1]);
  log.setFilter("");
  assert.deepEqual(shownNumbers(log), [6, 5, 4, 3, 2, 1]);
});

test("an event that leaves a filtered log leaves its rows too", () => {
  const log = new EventLog(4);
  addNumbered(log, 1, 2, "wanted");
  log.setFilter("wanted");
  addNumbered(log, 3, 5, "other");
  assert.deepEqual(shownNumbers(log), [2]);
  addNumbered(log, 6, 6, "other");
  assert.equal(log.shownCount, 0);
});

test("a pause keeps the rows, counts the waiting events, and loses none", () => {
  const log = new EventLog();
  addNumbered(log, 1, 2);
  log.pause();
  addNumbered(log, 3, 5);
  assert.deepEqual(shownNumbers(log), [2, 1]);
  assert.equal(log.waitingCount, 3);
  log.resume();
  assert.deepEqual(shownNumbers(log), [5, 4, 3, 2, 1]);
  assert.equal(log.waitingCount, 0);
});

test("a pause longer than the log holds keeps its rows and counts only held events", () => {
  const log = new EventLog(3);
  addNumbered(log, 1, 3);
  log.pause();
  addNumbered(log, 4, 20);
  assert.deepEqual(shownNumbers(log), [3, 2, 1]);
  assert.equal(log.waitingCount, 3);
  log.resume();
  assert.deepEqual(shownNumbers(log), [20, 19, 18]);
});

test("filtering during a pause shows no later event", () => {
  const log = new EventLog();
  addNumbered(log, 1, 2);
  log.pause();
  addNumbered(log, 3, 4);
  log.setFilter("tick");
  assert.deepEqual(shownNumbers(log), [2, 1]);
});

test("an event is found by its sequence number in any row", () => {
  const log = new EventLog(5);
  addNumbered(log, 1, 5);
  const { sequence } = log.row(0) ?? { sequence: 0 };
  addNumbered(log, 6, 8);
  assert.equal(log.rowOf(sequence), 3);
  assert.deepEqual(JSON.parse(log.row(3)?.json ?? "null"), { number: 5 });
  addNumbered(log, 9, 10);
  assert.equal(log.rowOf(sequence), -1);
});

test("rows added on top are counted, events that do not match are not", () => {
  const log = new EventLog();
  log.setFilter("wanted");
  addNumbered(log, 1, 3, "wanted");
  addNumbered(log, 4, 9, "other");
  assert.equal(log.shownOnTop, 3);
});

test("an event without time or source gets the time of its arrival", () => {
  const log = new EventLog();
  log.add({ type: "event", topic: "event:x", data: {} }, 1234);
  assert.equal(log.row(0)?.emittedAt, 1234);
  assert.equal(log.row(0)?.source, "");
});

/** @param {EventLog} log */
function shownRows(log) {
  return Array.from({ length: log.shownCount }, (_, row) => {
    const entry = log.row(row);
    return entry?.gap ? `${entry.gap.from} to ${entry.gap.to}` : entry?.topic;
  });
}

const gap = { stream: "event", from: 3, to: 9, reason: "retention" };

test("a gap has a row in its place, and does not count as an event", () => {
  const log = new EventLog();
  addNumbered(log, 1, 2);
  log.addGap(gap, 1234);
  addNumbered(log, 10, 10);
  assert.deepEqual(shownRows(log), ["event:tick", "3 to 9", "event:tick", "event:tick"]);
  assert.equal(log.row(1)?.emittedAt, 1234);
  assert.deepEqual([log.heldEvents, log.shownEvents], [3, 3]);
});

test("no filter hides a gap, because the missing events are unknown", () => {
  const log = new EventLog();
  addNumbered(log, 1, 2);
  log.setFilter("nothing has this");
  log.addGap(gap, 0);
  assert.deepEqual(shownRows(log), ["3 to 9"]);
  assert.deepEqual([log.heldEvents, log.shownEvents], [2, 0]);
});

test("a gap waits during a pause, and a shown gap does not count as an event", () => {
  const log = new EventLog(3);
  log.addGap(gap, 0);
  addNumbered(log, 10, 10);
  log.pause();
  addNumbered(log, 11, 13);
  log.addGap({ ...gap, from: 14, to: 15 }, 0);
  assert.deepEqual(shownRows(log), ["event:tick", "3 to 9"]);
  assert.deepEqual([log.heldEvents, log.shownEvents], [2, 1]);
  log.resume();
  assert.deepEqual(shownRows(log), ["14 to 15", "event:tick", "event:tick"]);
  assert.equal(log.shownEvents, 2);
});

test("a cleared log has neither events nor gaps", () => {
  const log = new EventLog();
  log.addGap(gap, 0);
  log.clear();
  addNumbered(log, 1, 1);
  assert.deepEqual([log.heldEvents, log.shownEvents], [1, 1]);
});
