import assert from "node:assert/strict";
import { test } from "node:test";

import { gapText } from "../../edge/static/gap-text.js";

const gap = { stream: "event", from: 44, to: 50, reason: "retention" };

test("a gap says how many, why and which", () => {
  assert.equal(gapText(gap), "7 events were not kept long enough: 44 to 50");
});

test("one lost event is one event", () => {
  assert.equal(gapText({ ...gap, to: 44 }), "1 event was not kept long enough: 44");
});

test("a reason that the page does not know is not guessed", () => {
  assert.equal(gapText({ ...gap, reason: "x" }), "7 events were lost: 44 to 50");
});
