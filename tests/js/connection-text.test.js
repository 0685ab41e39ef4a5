import assert from "node:assert/strict";
import { test } from "node:test";

import { connectionText } from "../../edge/static/connection-text.js";

test("each state of a connection has its text", () => {
  assert.equal(connectionText({ name: "connecting" }), "Connecting");
  assert.equal(connectionText({ name: "live", username: "alice" }), "Live");
  assert.equal(connectionText({ name: "unauthenticated", code: 1008, reason: "" }), "Signed out");
  const stopped = connectionText({ name: "closed", code: 1009, reason: "too large" });
  assert.equal(stopped, "Stopped: too large");
  assert.equal(connectionText({ name: "closed", code: 1009, reason: "" }), "Stopped: code 1009");
});

test("after a lost connection the text names the reason, and stays the same for every further try", () => {
  const waiting = connectionText({ name: "waiting", code: 4013, reason: "", retryAt: 0 });
  assert.equal(waiting, "Reconnecting, the relay is away");
  assert.equal(connectionText({ name: "connecting", code: 4013, reason: "" }), waiting);
  const sentAway = { code: 4013, reason: "overloaded, retry in 3 s", retryAt: 0 };
  assert.equal(
    connectionText({ name: "waiting", ...sentAway }),
    "Reconnecting, the server is busy",
  );
  assert.equal(
    connectionText({ name: "connecting", code: 4999, reason: "" }),
    "Reconnecting, the connection was lost (code 4999)",
  );
});
