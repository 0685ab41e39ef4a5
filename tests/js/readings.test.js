import assert from "node:assert/strict";
import { test } from "node:test";

import {
  parseReading,
  ReadingWindow,
  readingNote,
  roundCeiling,
} from "../../edge/static/readings.js";

/** @param {number} cpuPercent */
function reading(cpuPercent) {
  return { cpuPercent, memoryMb: 100, pid: 1, uptime: "" };
}

test("a reading is parsed from process_info", () => {
  const process_info = { pid: 4242, cpu_percent: 3.1, memory_mb: 220.4, uptime: "0:10:02" };
  assert.deepEqual(parseReading({ process_info }), {
    cpuPercent: 3.1,
    memoryMb: 220.4,
    pid: 4242,
    uptime: "0:10:02",
  });
});

test("without a process there is no reading, and odd values do not reach the chart", () => {
  assert.equal(parseReading({ process_info: null }), null);
  assert.equal(parseReading({}), null);
  assert.equal(parseReading({ process_info: "x" }), null);
  const odd = parseReading({ process_info: { cpu_percent: "a", memory_mb: null } });
  assert.deepEqual(odd, { cpuPercent: 0, memoryMb: 0, pid: null, uptime: "" });
});

test("the window holds the last two minutes", () => {
  const window = new ReadingWindow();
  for (let second = 0; second < 300; second += 1) window.add(reading(second), second);
  assert.equal(window.times.at(-1), 299);
  const first = window.times[0] ?? 0;
  assert.ok(first <= 179 && first >= 170, `starts at ${first}`);
  assert.equal(window.times.length, window.cpu.length);
  assert.equal(window.times.length, window.memory.length);
});

test("readings at a much higher rate than usual are bounded too", () => {
  const window = new ReadingWindow();
  for (let number = 0; number < 5000; number += 1) window.add(reading(1), number / 1000);
  assert.equal(window.times.length, 1200);
  assert.equal(window.times.at(-1), 4.999);
});

test("a pause in the readings is a gap in the line, and so is a stopped process", () => {
  const window = new ReadingWindow();
  window.add(reading(1), 10);
  window.add(reading(2), 11);
  window.add(reading(3), 30);
  window.add(null, 31);
  assert.deepEqual(window.cpu, [1, 2, null, 3, null]);
  assert.deepEqual(window.times, [10, 11, 14, 30, 31]);
});

test("after a long absence only the new reading is left", () => {
  const window = new ReadingWindow();
  window.add(reading(1), 10);
  window.add(reading(2), 1000);
  assert.deepEqual(window.cpu, [2]);
});

test("a card notes the silence since the last reading", () => {
  const card = { watchedSince: 0, heardAt: 10_000, isRunning: true };
  assert.equal(readingNote(card, 14_900), "");
  assert.equal(readingNote(card, 15_000), "No reading for 5 s");
  assert.equal(readingNote(card, 73_500), "No reading for 63 s");
});

test("a card that was out of view counts the silence from its new subscription", () => {
  const card = { watchedSince: 100_000, heardAt: 10_000, isRunning: true };
  assert.equal(readingNote(card, 104_000), "");
  assert.equal(readingNote(card, 106_000), "No reading for 6 s");
  assert.equal(readingNote({ ...card, watchedSince: null }, 106_000), "");
});

test("a card notes a missing first reading, and a process that is not running", () => {
  const fresh = { watchedSince: 0, heardAt: null, isRunning: null };
  assert.equal(readingNote(fresh, 1000), "Waiting for the first reading");
  assert.equal(readingNote(fresh, 6000), "No reading for 6 s");
  const gone = { watchedSince: 0, heardAt: 900_000, isRunning: false };
  assert.equal(readingNote(gone, 901_000), "Not running");
  assert.equal(readingNote(gone, 906_000), "No reading for 6 s", "nobody says so any more");
});

test("an axis ends at a round number that covers the values", () => {
  const tops = [0, 0.03, 1, 3.1, 9, 12, 99.9, 100, 266].map(roundCeiling);
  assert.deepEqual(tops, [1, 0.03, 1, 4, 10, 15, 100, 100, 300]);
  assert.equal(roundCeiling(Number.NaN), 1);
});
