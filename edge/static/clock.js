// A clock for durations.

/**
 * Unix milliseconds as they were when the page began, and steady from then on: when the clock of the
 * machine is set, no reading becomes old and no manager silent.
 */
export function steadyNow() {
  return performance.timeOrigin + performance.now();
}
