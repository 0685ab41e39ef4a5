import assert from "node:assert/strict";
import { test } from "node:test";

import {
  isBefore,
  isServerName,
  managerNote,
  MAX_SERVERS,
  ServerList,
} from "../../edge/static/server-list.js";
import { event } from "./support/scripted-relay.js";

/** @param {unknown[]} servers @param {string} [source] */
function statuses(servers, source = "manager-1") {
  return event("event:after_server_statuses_updated", { data: { servers }, source });
}

test("a manager's list adds its servers, with status and process", () => {
  const list = new ServerList();
  const told = list.apply(
    statuses([
      { name: "survival", status: "RUNNING", pid: 42 },
      { name: "creative", status: "STOPPED", pid: null },
    ]),
    1000,
  );
  assert.deepEqual(told.map((server) => server.name), ["survival", "creative"]);
  assert.deepEqual(
    list.servers.map(({ name, status, statusAt, pid, manager, managerHeardAt }) => [
      name, status, statusAt, pid, manager, managerHeardAt,
    ]),
    [
      ["creative", "STOPPED", 1000, null, "manager-1", 1000],
      ["survival", "RUNNING", 1000, 42, "manager-1", 1000],
    ],
  );
});

test("any event about a server adds it, with an unknown status", () => {
  const list = new ServerList();
  list.apply(event("event:after_backup", { data: { server_name: "lobby" } }), 0);
  assert.equal(list.get("lobby")?.status, "");
});

test("start and stop events change the status", () => {
  const list = new ServerList();
  const steps = ["before_server_start", "after_server_start"];
  steps.push("before_server_stop", "after_server_stop");
  const seen = steps.map((step) => {
    list.apply(event(`event:${step}`, { data: { server_name: "lobby" } }), 0);
    return list.get("lobby")?.status;
  });
  assert.deepEqual(seen, ["STARTING", "RUNNING", "STOPPING", "STOPPED"]);
});

test("a failed start does not make a server running", () => {
  const list = new ServerList();
  list.apply(statuses([{ name: "lobby", status: "STOPPED", pid: null }]), 0);
  const data = { server_name: "lobby", result: { status: "error", message: "port taken" } };
  list.apply(event("event:after_server_start", { data }), 0);
  assert.equal(list.get("lobby")?.status, "STOPPED");
});

test("a server that stops or starts has no process until its manager names one", () => {
  const list = new ServerList();
  for (const step of ["after_server_stop", "before_server_start"]) {
    list.apply(statuses([{ name: "lobby", status: "RUNNING", pid: 42 }]), 0);
    assert.equal(list.get("lobby")?.pid, 42);
    list.apply(event(`event:${step}`, { data: { server_name: "lobby" } }), 0);
    assert.equal(list.get("lobby")?.pid, null, step);
  }
});

test("messages of one emitter are ordered by its clock, those of two emitters by arrival", () => {
  const early = { at: 20, emittedAt: 1, source: "manager-1" };
  const late = { at: 10, emittedAt: 2, source: "manager-1" };
  assert.equal(isBefore(early, late), true);
  assert.equal(isBefore(late, early), false);
  assert.equal(isBefore(early, { ...late, source: "manager-2" }), false);
  assert.equal(isBefore({ ...early, emittedAt: undefined }, late), false);
});

test("names that are invalid in a topic, or would be a pattern, add no server", () => {
  const tooLong = ["x".repeat(239), "é".repeat(120)];
  for (const name of [undefined, null, 7, "", "*", "a*", "a\nb", "a\u0085b", ...tooLong]) {
    assert.equal(isServerName(name), false, String(name));
  }
  for (const name of ["survival", "my server.1", "x".repeat(238), "Überlebende"]) {
    assert.equal(isServerName(name), true, name);
  }
});

test("data of another shape is ignored", () => {
  const list = new ServerList();
  for (const servers of [null, "x", [null], [7], [{ name: ["a"] }], { name: "a" }]) {
    const message = event("event:after_server_statuses_updated", { data: { servers } });
    assert.deepEqual(list.apply(message, 0), []);
  }
  assert.deepEqual(list.servers, []);
});

test("servers are in natural order of their numbers", () => {
  const list = new ServerList();
  list.apply(statuses(["s10", "s2", "s1"].map((name) => ({ name }))), 0);
  assert.deepEqual(list.servers.map((server) => server.name), ["s1", "s2", "s10"]);
});

test("the number of servers is bounded, and the list reports it", () => {
  const list = new ServerList();
  const servers = Array.from({ length: MAX_SERVERS }, (_, number) => ({ name: `s${number}` }));
  list.apply(statuses(servers), 0);
  assert.equal(list.hasTooMany, false);
  list.apply(event("event:x", { data: { server_name: "one more" } }), 0);
  assert.equal(list.servers.length, MAX_SERVERS);
  assert.equal(list.hasTooMany, true);
});

test("a manager that stops listing its servers counts as silent after 16 s", () => {
  const list = new ServerList();
  list.apply(statuses([{ name: "lobby", status: "RUNNING" }], "manager-2"), 10_000);
  const [lobby] = list.servers;
  assert.ok(lobby);
  assert.equal(managerNote(lobby, 0, 25_999), "");
  assert.equal(managerNote(lobby, 0, 27_500), "manager-2 is silent");
  assert.equal(managerNote(lobby, 20_000, 27_500), "", "the page itself was away until 20 s");
});
