import assert from "node:assert/strict";
import { test } from "node:test";

import { gapText } from "../../edge/static/gap-text.js";

const gap = { stream: "event", from: 44, to: 50, reason: "retention" };

test("a gap's text names the count, the reason and the offsets", () => {
  assert.equal(gapText(gap), "7 events were not kept long enough: 44 to 50");
});

test("the text of a single lost event is in the singular", () => {
  assert.equal(gapText({ ...gap, to: 44 }), "1 event was not kept long enough: 44");
});

test("an unknown reason has a text that does not guess it", () => {
  assert.equal(gapText({ ...gap, reason: "x" }), "7 events were lost: 44 to 50");
});
