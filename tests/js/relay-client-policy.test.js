// The pure functions of the client: delays, renewal, matching. vectors.test.js checks the table of
// close codes.

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  closeAction,
  renewDelayMs,
  retryDelayMs,
  toldDelayMs,
  topicMatches,
} from "../../edge/static/relay-client.js";

const half = () => 0.5;

test("an unknown close code makes the client reconnect", () => {
  for (const code of [1000, 1006, 1011, 4999]) assert.equal(closeAction(code), "reconnect");
});

test("the delay is random, below a bound that doubles from 250 ms to the longest delay", () => {
  const ceilings = [0, 1, 2, 3, 4, 50].map((attempt) =>
    retryDelayMs("reconnect", attempt, 3000, () => 1),
  );
  assert.deepEqual(ceilings, [250, 500, 1000, 2000, 3000, 3000]);
  assert.equal(retryDelayMs("reconnect", 3, 3000, () => 0), 0);
  assert.equal(retryDelayMs("reconnect", 3, 3000, half), 1000);
});

test("clients that an edge closes together return within a second, not at once", () => {
  assert.equal(retryDelayMs("spread", 0, 3000, half), 500);
  assert.equal(retryDelayMs("spread", 4, 3000, half), 1500);
  assert.equal(retryDelayMs("spread", 0, 100, () => 1), 100);
});

test("the action `later` waits at least the longest delay", () => {
  assert.equal(retryDelayMs("later", 0, 3000, () => 0), 3000);
  assert.equal(retryDelayMs("later", 9, 3000, half), 4500);
});

test("a client that was told a delay returns after it or later", () => {
  assert.equal(toldDelayMs("overloaded, retry in 3 s", () => 0), 3000);
  assert.equal(toldDelayMs("overloaded, retry in 12 s", half), 18_000);
  assert.equal(toldDelayMs("edge has lost the relay or is overloaded"), null);
});

test("the delays of many clients are spread over the whole range", () => {
  const delays = Array.from({ length: 2000 }, () => retryDelayMs("reconnect", 10, 3000));
  assert.ok(delays.every((delay) => delay >= 0 && delay < 3000));
  const quarters = [0, 0, 0, 0];
  for (const delay of delays) {
    const quarter = Math.floor(delay / 750);
    quarters[quarter] = (quarters[quarter] ?? 0) + 1;
  }
  assert.ok(quarters.every((count) => count > 300), `uneven: ${quarters}`);
});

test("a token is renewed 30 s before it expires, a short one after four fifths of its time", () => {
  assert.equal(renewDelayMs(3_600_000), 3_570_000);
  assert.equal(renewDelayMs(60_000), 48_000);
});

test("an expired token does not make the client renew in a tight loop", () => {
  assert.equal(renewDelayMs(0), 5000);
  assert.equal(renewDelayMs(-1_000_000), 5000);
});

test("the renewal of a token of a year has a delay that timers can hold", () => {
  assert.equal(renewDelayMs(40_000_000_000), 2 ** 31 - 1);
});

test("a topic matches exactly, a prefix matches the start", () => {
  /** @type {[string, string, boolean][]} */
  const cases = [
    ["event:after_backup", "event:after_backup", true],
    ["event:after_backup", "event:after_backup_2", false],
    ["event:after_*", "event:after_backup", true],
    ["event:after_*", "event:before_backup", false],
    ["event:*", "event:", true],
    ["event:*", "event", true],
    ["event:*", "events", false],
    ["event", "event:a", false],
    ["*", "resource-monitor:survival", true],
    ["task:1", "task:10", false],
    ["resource-monitor:my server.1", "resource-monitor:my server.1", true],
    ["resource-monitor:a.c", "resource-monitor:abc", false],
  ];
  for (const [pattern, topic, expected] of cases) {
    assert.equal(topicMatches(pattern, topic), expected, `${pattern} on ${topic}`);
  }
});
