import assert from "node:assert/strict";
import { test } from "node:test";

import { TaskList } from "../../edge/static/task-list.js";
import { event } from "./support/scripted-relay.js";

/** @param {string} id @param {string} status @param {Record<string, unknown>} [fields] */
function update(id, status, { at = 1000, offset = 1, ...data } = {}) {
  return event(`task:${id}`, {
    type: "task_update",
    emitted_at: at,
    offset,
    data: { status, message: status, result: null, username: "alice", ...data },
  });
}

test("a task goes from start to progress to end", () => {
  const list = new TaskList();
  assert.equal(list.apply(update("a", "in_progress"), 0)?.hasFinished, false);
  assert.equal(list.runningCount, 1);
  list.apply(update("a", "in_progress", { at: 2000, offset: 2, progress: 0.4 }), 0);
  assert.equal(list.tasks[0]?.progress, 0.4);
  const end = list.apply(update("a", "success", { at: 3000, offset: 3, result: { n: 1 } }), 0);
  assert.equal(end?.hasFinished, true);
  assert.equal(list.runningCount, 0);
  assert.deepEqual(list.tasks.map((task) => [task.id, task.status, task.result]), [
    ["a", "success", { n: 1 }],
  ]);
});

test("queued and running tasks are unfinished, and each last status ends them", () => {
  for (const last of ["completed", "failed", "cancelled", "success", "error"]) {
    const list = new TaskList();
    list.apply(update("a", "queued"), 0);
    list.apply(update("a", "running", { at: 2000, offset: 2 }), 0);
    assert.equal(list.runningCount, 1);
    assert.equal(list.apply(update("a", last, { at: 3000, offset: 3 }), 0)?.hasFinished, true);
    assert.equal(list.runningCount, 0);
  }
});

test("the list from HTTP does not undo an update from the socket", () => {
  const list = new TaskList();
  list.apply(update("a", "success", { at: 3000, offset: 3 }), 0);
  assert.equal(list.apply(update("a", "in_progress", { at: 2000, offset: 2 }), 0), null);
  assert.equal(list.apply(update("a", "in_progress", { at: 3000, offset: 2 }), 0), null);
  assert.equal(list.apply(update("a", "success", { at: 3000, offset: 3 }), 0), null, "the same");
  assert.equal(list.tasks[0]?.status, "success");
});

test("offsets that begin at 1 again do not freeze a task", () => {
  const list = new TaskList();
  list.apply(update("a", "in_progress", { at: 2000, offset: 900 }), 0);
  assert.ok(list.apply(update("a", "success", { at: 3000, offset: 1 }), 0));
});

test("a task whose first update is its end does not count as just finished", () => {
  const list = new TaskList();
  assert.equal(list.apply(update("a", "error"), 0)?.hasFinished, false);
});

test("the newest task is first, and keeps its place when it is updated", () => {
  const list = new TaskList();
  list.apply(update("old", "in_progress", { at: 1000 }), 0);
  list.apply(update("new", "in_progress", { at: 2000 }), 0);
  list.apply(update("old", "success", { at: 9000 }), 0);
  assert.deepEqual(list.tasks.map((task) => task.id), ["new", "old"]);
});

test("the oldest task is removed when there are too many, and the list reports it", () => {
  const list = new TaskList(2);
  const told = [];
  for (const [index, id] of ["a", "b", "c"].entries()) {
    list.apply(update(id, "success", { at: index + 1 }), 0);
    told.push(list.hasTooMany);
  }
  assert.deepEqual(list.tasks.map((task) => task.id), ["c", "b"]);
  assert.deepEqual(told, [false, false, true]);
  list.clear();
  assert.equal(list.hasTooMany, false);
});

test("progress stays between 0 and 1, and odd values count as none", () => {
  const list = new TaskList();
  const shown = [-1, 7, "half", null].map((progress, index) => {
    list.apply(update("a", "in_progress", { at: index + 1, progress }), 0);
    return list.tasks[0]?.progress;
  });
  assert.deepEqual(shown, [0, 1, null, null]);
});
