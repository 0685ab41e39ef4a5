// The entries of the event feed: bounded in number and in characters, filtered, pausable.
// An entry is an event, or a gap in place of lost events.
// No DOM: feed.js draws it.

import { RingBuffer } from "./ring-buffer.js";

/**
 * @typedef {import("./relay-client.js").RelayMessage} RelayMessage
 * @typedef {import("./relay-client.js").StreamGap} StreamGap
 * @typedef {{
 *   sequence: number,
 *   topic: string,
 *   source: string,
 *   type: string,
 *   emittedAt: number,
 *   offset: number | undefined,
 *   json: string,
 *   gap?: StreamGap,
 * }} LogEntry `json` is the data as text, which is smaller and quicker to search than objects; in
 *   an entry with a `gap` only `sequence`, `emittedAt` and `gap` have a meaning
 */

export const MAX_EVENTS = 10_000;
export const MAX_CHARACTERS = 32 * 1024 * 1024;

export class EventLog {
  #maxEvents;
  #maxCharacters;
  /** @type {RingBuffer<LogEntry>} */
  #held;
  /** @type {RingBuffer<LogEntry>} */
  #shown;
  /**
   * While paused, the entries that were held at the moment of the pause.
   * @type {LogEntry[] | null}
   */
  #frozen = null;
  #characters = 0;
  #heldGaps = 0;
  #frozenGaps = 0;
  #nextSequence = 1;
  #pausedAtSequence = 0;
  #filter = "";

  /** Number of entries that were ever added above the shown ones. */
  shownOnTop = 0;

  constructor(maxEvents = MAX_EVENTS, maxCharacters = MAX_CHARACTERS) {
    this.#maxEvents = maxEvents;
    this.#maxCharacters = maxCharacters;
    this.#held = new RingBuffer(maxEvents);
    this.#shown = new RingBuffer(maxEvents);
  }

  /** Number of held events, shown or not. */
  get heldEvents() {
    return this.#held.length - this.#heldGaps;
  }

  /** Number of shown events: all rows except gaps, which no filter hides. */
  get shownEvents() {
    return this.#shown.length - (this.isPaused ? this.#frozenGaps : this.#heldGaps);
  }

  /** Number of rows. */
  get shownCount() {
    return this.#shown.length;
  }

  get isPaused() {
    return this.#frozen !== null;
  }

  /** Number of entries that came since the pause and are still held. */
  get waitingCount() {
    if (!this.isPaused) return 0;
    return Math.min(this.#nextSequence - this.#pausedAtSequence, this.#held.length);
  }

  get filter() {
    return this.#filter;
  }

  /** @param {number} row counted from the newest, which is 0 */
  row(row) {
    return this.#shown.at(this.#shown.length - 1 - row);
  }

  /** @param {number} sequence @returns {number} the row of that entry, or -1 */
  rowOf(sequence) {
    let low = 0;
    let high = this.#shown.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const found = this.#shown.at(middle)?.sequence ?? 0;
      if (found === sequence) return this.#shown.length - 1 - middle;
      if (found < sequence) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  /** @param {RelayMessage} message @param {number} now Unix milliseconds */
  add(message, now) {
    this.#push({
      sequence: this.#nextSequence++,
      topic: message.topic,
      source: message.source ?? "",
      type: message.type,
      emittedAt: message.emitted_at ?? now,
      offset: message.offset,
      json: JSON.stringify(message.data) ?? "",
    });
  }

  /** @param {StreamGap} gap @param {number} now Unix milliseconds */
  addGap(gap, now) {
    const sequence = this.#nextSequence++;
    const nothing = { topic: "", source: "", type: "gap", offset: undefined, json: "" };
    this.#push({ ...nothing, sequence, emittedAt: now, gap });
  }

  /** @param {LogEntry} entry */
  #push(entry) {
    this.#makeRoom(entry.json.length);
    this.#held.push(entry);
    this.#characters += entry.json.length;
    this.#heldGaps += entry.gap ? 1 : 0;
    if (!this.isPaused && this.#matches(entry)) {
      this.#shown.push(entry);
      this.shownOnTop += 1;
    }
  }

  pause() {
    if (this.isPaused) return;
    this.#frozen = [...this.#held];
    this.#frozenGaps = this.#heldGaps;
    this.#pausedAtSequence = this.#nextSequence;
  }

  resume() {
    this.#frozen = null;
    this.#showMatching();
  }

  /** @param {string} text only events that contain it are shown; upper and lower case are equal */
  setFilter(text) {
    this.#filter = text.trim().toLowerCase();
    this.#showMatching();
  }

  clear() {
    this.#held.clear();
    this.#shown.clear();
    this.#frozen = null;
    this.#characters = 0;
    this.#heldGaps = 0;
  }

  /** @param {number} characters of the entry to be added */
  #makeRoom(characters) {
    const isFull = () =>
      this.#held.length >= this.#maxEvents ||
      (this.#held.length > 0 && this.#characters + characters > this.#maxCharacters);
    while (isFull()) {
      const dropped = this.#held.shift();
      this.#characters -= dropped?.json.length ?? 0;
      this.#heldGaps -= dropped?.gap ? 1 : 0;
      if (!this.isPaused && this.#shown.at(0) === dropped) this.#shown.shift();
    }
  }

  #showMatching() {
    this.#shown.clear();
    for (const entry of this.#frozen ?? this.#held) {
      if (this.#matches(entry)) this.#shown.push(entry);
    }
  }

  /** @param {LogEntry} entry */
  #matches(entry) {
    if (this.#filter === "" || entry.gap) return true;
    return `${entry.topic} ${entry.source} ${entry.json}`.toLowerCase().includes(this.#filter);
  }
}
