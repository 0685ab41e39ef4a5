// The CPU and memory of a server over the last two minutes, and whether its readings still arrive.
// No DOM: servers.js and chart.js draw it.

/**
 * @typedef {{cpuPercent: number, memoryMb: number, pid: number | null, uptime: string}} Reading
 */

export const WINDOW_S = 120;
export const SILENT_AFTER_S = 5;
const MAX_READINGS = 1_200;
// A longer pause is drawn as a gap instead of a line.
const GAP_S = 6;

/**
 * @param {Record<string, unknown>} data of a `resource_update`
 * @returns {Reading | null} null if the process is not running
 */
export function parseReading(data) {
  const info = data.process_info;
  if (typeof info !== "object" || info === null) return null;
  const { cpu_percent, memory_mb, pid, uptime } = /** @type {Record<string, unknown>} */ (info);
  return {
    cpuPercent: finite(cpu_percent),
    memoryMb: finite(memory_mb),
    pid: typeof pid === "number" ? pid : null,
    uptime: typeof uptime === "string" ? uptime : "",
  };
}

/** @param {unknown} value */
function finite(value) {
  return typeof value === "number" && Number.isFinite(value) ? value : 0;
}

/** The readings of one server, by their time of arrival (Unix seconds). */
export class ReadingWindow {
  /** @type {number[]} */
  times = [];
  /** @type {(number | null)[]} */
  cpu = [];
  /** @type {(number | null)[]} */
  memory = [];

  /** @param {Reading | null} reading @param {number} at Unix seconds */
  add(reading, at) {
    const previous = this.times.at(-1);
    if (previous !== undefined && at - previous > GAP_S) this.#append(previous + GAP_S / 2, null);
    this.#append(at, reading);
    this.#forgetBefore(at - WINDOW_S - GAP_S);
  }

  /** @param {number} at @param {Reading | null} reading */
  #append(at, reading) {
    this.times.push(at);
    this.cpu.push(reading?.cpuPercent ?? null);
    this.memory.push(reading?.memoryMb ?? null);
  }

  /** @param {number} time */
  #forgetBefore(time) {
    const tooMany = this.times.length - MAX_READINGS;
    const firstKept = this.times.findIndex((at) => at >= time);
    const count = Math.max(firstKept, tooMany);
    if (count <= 0) return;
    this.times.splice(0, count);
    this.cpu.splice(0, count);
    this.memory.splice(0, count);
  }
}

/**
 * @typedef {{watchedSince: number | null, heardAt: number | null, isRunning: boolean | null}} Watch
 *   times in Unix milliseconds; `isRunning` null before the first reading
 */

/** @param {Watch} watch @param {number} now Unix milliseconds */
function silentSeconds({ watchedSince, heardAt }, now) {
  if (watchedSince === null) return 0;
  return Math.floor((now - Math.max(watchedSince, heardAt ?? 0)) / 1000);
}

/** Whether the card is subscribed to readings and none arrive.
 * @param {Watch} watch @param {number} now Unix milliseconds */
export function areReadingsSilent(watch, now) {
  return silentSeconds(watch, now) >= SILENT_AFTER_S;
}

/**
 * Returns the note of a card about its readings; "" if there is nothing to note.
 * @param {Watch} watch
 * @param {number} now Unix milliseconds
 */
export function readingNote(watch, now) {
  const { watchedSince, heardAt, isRunning } = watch;
  if (watchedSince === null) return "";
  if (areReadingsSilent(watch, now)) return `No reading for ${silentSeconds(watch, now)} s`;
  if (isRunning === false) return "Not running";
  return heardAt === null ? "Waiting for the first reading" : "";
}

/** Returns a round number at or above `value`, for the end of an axis. @param {number} value */
export function roundCeiling(value) {
  if (!(value > 0)) return 1;
  const magnitude = 10 ** Math.floor(Math.log10(value));
  const step = [1, 1.5, 2, 3, 4, 5, 6, 8].find((factor) => factor * magnitude >= value) ?? 10;
  return step * magnitude;
}
