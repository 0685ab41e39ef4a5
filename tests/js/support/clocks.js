// Timers and clocks that a test moves: together, or the clock of the day alone.

import { mock } from "node:test";

const STEP_MS = 1000;

/**
 * Replaces timers and both clocks until `mock.timers.reset()` and `mock.restoreAll()`.
 * @param {number} unixMs
 */
export function mockClocks(unixMs) {
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: unixMs });
  const passed = Date.now.bind(Date);
  let shiftMs = 0;
  mock.method(performance, "now", () => passed() - unixMs);
  mock.method(Date, "now", () => passed() + shiftMs);
  return {
    /** Lets time pass in steps: a timer that another one starts counts from its step only.
     * @param {number} ms */
    pass(ms) {
      for (let left = ms; left > 0; left -= STEP_MS) mock.timers.tick(Math.min(left, STEP_MS));
    },
    /** Sets the clock of the day. @param {number} byMs */
    set(byMs) {
      shiftMs += byMs;
    },
  };
}
