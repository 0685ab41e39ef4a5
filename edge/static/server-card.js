// The contents of a server's card: its status, its readings, and a note about faults of either.
// No DOM: servers.js draws it.

import { areReadingsSilent, readingNote, SILENT_AFTER_S } from "./readings.js";
import { hasEnded, isBefore, managerNote } from "./server-list.js";

/**
 * @typedef {import("./server-list.js").Server} Server
 * @typedef {import("./server-list.js").Moment} Moment
 * @typedef {import("./readings.js").Reading} Reading
 * @typedef {{reading: Reading | null, moment: Moment}} HeardReading `reading` is null if the
 *   process was not running
 * @typedef {{
 *   latest: HeardReading | null,
 *   watchedSince: number | null,
 *   listeningSince: number,
 * }} Heard `watchedSince` is null while the card is not subscribed to readings; `listeningSince` is
 *   the time when the page's connection became live (Unix milliseconds)
 * @typedef {{
 *   status: string,
 *   tone: string,
 *   reading: Reading | null,
 *   pid: number | null,
 *   note: string,
 * }} CardView `reading` has the numbers to show, null for none; `note` is "" if there is no fault
 */

// Managers list their servers every 5 s: an older status may no longer hold.
const STATUS_HOLDS_MS = 5_500;

/**
 * @param {Server} server
 * @param {Heard} heard
 * @param {number} now Unix milliseconds
 * @returns {CardView}
 */
export function cardView(server, heard, now) {
  const ofManager = managerNote(server, heard.listeningSince, now);
  const nothing = { reading: null, pid: null };
  if (hasEnded(server.status)) {
    return { ...badge(server.status), ...nothing, note: joined("Not running", ofManager) };
  }

  const latest = presentReading(server, heard.latest);
  const isGone = latest?.reading === null;
  const watch = {
    watchedSince: heard.watchedSince && Math.max(heard.watchedSince, server.run.at),
    heardAt: latest?.moment.at ?? null,
    isRunning: latest && !isGone,
  };
  const note = joined(readingNote(watch, now), ofManager);

  const isFresh = latest !== null && now - latest.moment.at < SILENT_AFTER_S * 1000;
  const isStatusOld = now - server.statusAt >= STATUS_HOLDS_MS;
  const isMissed = areReadingsSilent(watch, now) || ofManager !== "";
  if (isMissed && isStatusOld && !isFresh) {
    return { status: "No signal", tone: "warning", ...nothing, note };
  }
  if (isGone) return { ...badge(statusWithoutProcess(server.status)), ...nothing, note };
  const reading = isFresh ? latest.reading : null;
  return { ...badge(server.status), reading, pid: reading?.pid ?? server.pid, note };
}

/**
 * Returns the latest reading, or null if it is of an earlier process. The last reading of a stopped
 * process, and the reading without a process before a start, may arrive after the event.
 * @param {Server} server @param {HeardReading | null} latest
 */
function presentReading(server, latest) {
  if (latest === null) return null;
  const since = latest.reading === null ? server.changed : server.run;
  return isBefore(latest.moment, since) ? null : latest;
}

/** @param {string} status */
function statusWithoutProcess(status) {
  return status === "RUNNING" || status === "" ? "NOT RUNNING" : status;
}

/** @param {string} status */
function badge(status) {
  return { status: statusText(status), tone: statusTone(status) };
}

/** @param {string} status */
function statusText(status) {
  if (status === "") return "Unknown";
  return status.charAt(0).toUpperCase() + status.slice(1).toLowerCase();
}

/** @param {string} status */
function statusTone(status) {
  if (status === "RUNNING") return "good";
  if (status === "STARTING" || status === "STOPPING") return "busy";
  return ["STOPPED", "NOT RUNNING", ""].includes(status) ? "quiet" : "bad";
}

/** @param {string[]} notes */
function joined(...notes) {
  return notes.filter(Boolean).join(", ");
}
