// The live event feed on the page. It draws only the rows of an EventLog that are in view.
//
// The feed is a listbox: it keeps the focus, and arrow keys move the active event. All rows have
// the same height, so the place of an event follows from its row number.

import { find, instantiate, oncePerFrame, setHidden, setText } from "./dom.js";
import { EventLog } from "./event-log.js";
import { counted, isoTime, preciseTime, wholeNumber } from "./format.js";
import { gapText, offsetsText } from "./gap-text.js";

/**
 * @typedef {import("./relay-client.js").RelayMessage} RelayMessage
 * @typedef {import("./relay-client.js").StreamGap} StreamGap
 * @typedef {import("./event-log.js").LogEntry} LogEntry
 */

const ROWS_BEYOND_VIEW = 4;
const ROW_TEXT_CHARACTERS = 400;

export class Feed {
  #log = new EventLog();
  #viewport = find(document, "#feed", HTMLElement);
  #rowsHost = find(document, "#feed-rows", HTMLElement);
  #count = find(document, "#feed-count", HTMLElement);
  #empty = find(document, "#feed-empty", HTMLElement);
  #filter = find(document, "#feed-filter", HTMLInputElement);
  #pause = find(document, "#feed-pause", HTMLButtonElement);
  #newest = find(document, "#feed-newest", HTMLButtonElement);
  #news = find(document, "#feed-news", HTMLElement);
  #details = new EventDetails(() => this.#viewport.focus());

  /** @type {Map<number, HTMLElement>} the drawn rows, by the sequence number of their entry */
  #rows = new Map();
  /** Rows that left the view in this frame, used again for entering ones. @type {HTMLElement[]} */
  #spareRows = [];
  #rowHeightPx = 1;
  #viewHeightPx = 0;
  #drawnOnTop = 0;
  /** The sequence number of the active event, which stays active while others arrive. */
  #active = 0;

  #draw = oncePerFrame(() => this.#render());

  constructor() {
    this.#viewport.addEventListener("scroll", this.#draw, { passive: true });
    this.#viewport.addEventListener("keydown", (event) => this.#onKey(event));
    this.#viewport.addEventListener("focus", () => this.#activateSomething());
    this.#viewport.addEventListener("click", (event) => this.#onClick(event));
    this.#filter.addEventListener("input", () => this.#onFilter());
    this.#pause.addEventListener("click", () => this.#onPause());
    this.#newest.addEventListener("click", () => this.#toNewest());
    new ResizeObserver(() => this.#measure()).observe(this.#viewport);
    this.#measure();
  }

  /** @param {RelayMessage} message */
  add(message) {
    this.#log.add(message, Date.now());
    this.#draw();
  }

  /** @param {StreamGap} gap */
  addGap(gap) {
    this.#log.addGap(gap, Date.now());
    setText(this.#news, gapText(gap));
    this.#draw();
  }

  /** Sets the meanings of topics for the details. @param {Map<string, string>} meanings */
  setMeanings(meanings) {
    this.#details.meanings = meanings;
  }

  clear() {
    this.#log.clear();
    setText(this.#news, "");
    this.#filter.value = "";
    this.#log.setFilter("");
    this.#active = 0;
    this.#viewport.scrollTop = 0;
    this.#details.close();
    this.#draw();
  }

  // ---- Actions of the user ----

  #onFilter() {
    this.#log.setFilter(this.#filter.value);
    this.#toNewest();
  }

  #onPause() {
    if (this.#log.isPaused) {
      this.#log.resume();
      this.#toNewest();
    } else {
      this.#log.pause();
    }
    this.#draw();
  }

  #toNewest() {
    this.#viewport.scrollTop = 0;
    this.#draw();
  }

  /** @param {MouseEvent} event */
  #onClick(event) {
    const row = event.target instanceof Element ? event.target.closest(".feed-row") : null;
    const sequence = Number(row?.id.replace("event-", ""));
    if (!sequence) return;
    this.#active = sequence;
    this.#openActive();
    this.#draw();
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const row = this.#log.rowOf(this.#active);
    const page = Math.max(1, Math.floor(this.#viewHeightPx / this.#rowHeightPx) - 1);
    const last = this.#log.shownCount - 1;
    /** @type {Record<string, () => void>} */
    const actions = {
      ArrowDown: () => this.#activate(row + 1),
      ArrowUp: () => this.#activate(row - 1),
      PageDown: () => this.#activate(row + page),
      PageUp: () => this.#activate(row - page),
      Home: () => this.#activate(0),
      End: () => this.#activate(last),
      Enter: () => this.#openActive() && this.#details.focus(),
      " ": () => this.#openActive() && this.#details.focus(),
      Escape: () => this.#details.close(),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  /** Makes a row active and brings it into view. @param {number} wanted */
  #activate(wanted) {
    const row = Math.max(0, Math.min(wanted, this.#log.shownCount - 1));
    const entry = this.#log.row(row);
    if (!entry) return;
    this.#active = entry.sequence;
    const top = row * this.#rowHeightPx;
    const lowestTop = top - this.#viewHeightPx + this.#rowHeightPx;
    const { scrollTop } = this.#viewport;
    this.#viewport.scrollTop = Math.min(top, Math.max(lowestTop, scrollTop));
    if (this.#details.isOpen) this.#details.show(entry);
    this.#draw();
  }

  #activateSomething() {
    if (this.#log.rowOf(this.#active) >= 0) return;
    this.#activate(Math.ceil(this.#viewport.scrollTop / this.#rowHeightPx));
  }

  #openActive() {
    const entry = this.#log.row(this.#log.rowOf(this.#active));
    if (entry) this.#details.show(entry);
    return entry !== undefined;
  }

  // ---- Drawing ----

  #measure() {
    const rowHeight = getComputedStyle(this.#viewport).getPropertyValue("--row-height");
    this.#rowHeightPx = Number.parseFloat(rowHeight) || 32;
    this.#viewHeightPx = this.#viewport.clientHeight;
    this.#draw();
  }

  #render() {
    const count = this.#log.shownCount;
    this.#rowsHost.style.height = `${count * this.#rowHeightPx}px`;
    this.#holdPlace();
    this.#renderRows(count);
    this.#renderSurroundings(count);
  }

  /** Keeps the rows in view in place when events arrive above them. */
  #holdPlace() {
    const added = this.#log.shownOnTop - this.#drawnOnTop;
    this.#drawnOnTop = this.#log.shownOnTop;
    if (added > 0 && this.#viewport.scrollTop > 0) {
      this.#viewport.scrollTop += added * this.#rowHeightPx;
    }
  }

  /** @param {number} count */
  #renderRows(count) {
    const { scrollTop } = this.#viewport;
    const inView = Math.ceil(this.#viewHeightPx / this.#rowHeightPx);
    const first = Math.max(0, Math.floor(scrollTop / this.#rowHeightPx) - ROWS_BEYOND_VIEW);
    const end = Math.min(count, first + inView + 2 * ROWS_BEYOND_VIEW);

    const leaving = new Map(this.#rows);
    for (let row = first; row < end; row += 1) leaving.delete(this.#log.row(row)?.sequence ?? 0);
    for (const [sequence, element] of leaving) {
      this.#rows.delete(sequence);
      this.#spareRows.push(element);
    }
    for (let row = first; row < end; row += 1) {
      const entry = this.#log.row(row);
      if (entry) this.#placeRow(this.#rows.get(entry.sequence) ?? this.#newRow(entry), entry, row);
    }
    for (const element of this.#spareRows.splice(0)) element.remove();
    this.#orderRows(first, end);

    if (this.#rows.has(this.#active)) {
      this.#viewport.setAttribute("aria-activedescendant", `event-${this.#active}`);
    } else {
      this.#viewport.removeAttribute("aria-activedescendant");
    }
  }

  /**
   * Puts the drawn rows into the document in visible order, because screen readers follow it.
   * @param {number} first
   * @param {number} end
   */
  #orderRows(first, end) {
    let next = this.#rowsHost.firstElementChild;
    for (let row = first; row < end; row += 1) {
      const element = this.#rows.get(this.#log.row(row)?.sequence ?? 0);
      if (!element) continue;
      if (element === next) next = next.nextElementSibling;
      else this.#rowsHost.insertBefore(element, next);
    }
  }

  /** @param {LogEntry} entry */
  #newRow(entry) {
    let element = this.#spareRows.pop();
    if (!element) {
      element = instantiate("feed-row-template");
      this.#rowsHost.append(element);
    }
    element.id = `event-${entry.sequence}`;
    element.dataset.testid = entry.gap ? "feed-gap" : "feed-row";
    element.classList.toggle("feed-gap", entry.gap !== undefined);
    const [time, topic, source, data] = element.children;
    if (time && topic && source && data) {
      setText(time, preciseTime(entry.emittedAt));
      setText(topic, entry.gap ? gapText(entry.gap) : entry.topic);
      setText(source, entry.source);
      setText(data, entry.json.slice(0, ROW_TEXT_CHARACTERS));
    }
    this.#rows.set(entry.sequence, element);
    return element;
  }

  /** @param {HTMLElement} element @param {LogEntry} entry @param {number} row */
  #placeRow(element, entry, row) {
    element.style.transform = `translateY(${row * this.#rowHeightPx}px)`;
    element.setAttribute("aria-posinset", String(row + 1));
    element.setAttribute("aria-setsize", String(this.#log.shownCount));
    element.setAttribute("aria-selected", String(entry.sequence === this.#active));
  }

  /** @param {number} count */
  #renderSurroundings(count) {
    const { heldEvents, shownEvents, waitingCount, filter, isPaused } = this.#log;
    const total = counted(heldEvents, "event");
    setText(this.#count, filter ? `${wholeNumber(shownEvents)} of ${total}` : total);
    const waiting = waitingCount > 0 ? ` (${wholeNumber(waitingCount)} waiting)` : "";
    setText(this.#pause, isPaused ? `Resume${waiting}` : "Pause");
    this.#pause.dataset.paused = String(isPaused);
    const nothing = filter
      ? "No event contains this text."
      : "No events yet. Events appear here as soon as a process emits them.";
    setText(this.#empty, nothing);
    setHidden(this.#empty, count > 0);
    setHidden(this.#newest, this.#viewport.scrollTop < this.#rowHeightPx);
  }
}

/** One event in full, below the feed. */
class EventDetails {
  #panel = find(document, "#event-details", HTMLElement);
  #title = find(document, "#event-details-title", HTMLElement);
  #meaning = find(document, "#event-details-meaning", HTMLElement);
  #facts = find(document, "#event-details-facts", HTMLElement);
  #data = find(document, "#event-details-data", HTMLElement);
  #giveFocusBack;
  /** @type {Map<string, string>} */
  meanings = new Map();

  /** @param {() => void} giveFocusBack */
  constructor(giveFocusBack) {
    this.#giveFocusBack = giveFocusBack;
    const close = find(document, "#event-details-close", HTMLElement);
    close.addEventListener("click", () => this.#leave());
    this.#panel.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#leave();
    });
  }

  get isOpen() {
    return !this.#panel.hidden;
  }

  /** @param {LogEntry} entry */
  show(entry) {
    if (entry.gap) this.#showGap(entry.gap, entry.emittedAt);
    else this.#showEvent(entry);
    setHidden(this.#data, entry.gap !== undefined);
    setHidden(this.#panel, false);
  }

  /** @param {LogEntry} entry */
  #showEvent(entry) {
    setText(this.#title, entry.topic);
    setText(this.#meaning, this.meanings.get(entry.topic) ?? "");
    setText(this.#data, JSON.stringify(JSON.parse(entry.json || "null"), null, 2));
    this.#facts.replaceChildren(
      fact("Emitted", isoTime(entry.emittedAt)),
      fact("Source", entry.source),
      fact("Type", entry.type),
      ...(entry.offset === undefined ? [] : [fact("Offset", wholeNumber(entry.offset))]),
    );
  }

  /** @param {StreamGap} gap @param {number} noticedAt Unix milliseconds */
  #showGap(gap, noticedAt) {
    setText(this.#title, gapText(gap));
    setText(this.#meaning, "The relay no longer has these events.");
    this.#facts.replaceChildren(
      fact("Noticed", isoTime(noticedAt)),
      fact("Stream", gap.stream),
      fact("Offsets", offsetsText(gap)),
      fact("Reason", gap.reason),
    );
  }

  focus() {
    this.#panel.focus();
  }

  close() {
    setHidden(this.#panel, true);
  }

  #leave() {
    this.close();
    this.#giveFocusBack();
  }
}

/** @param {string} name @param {string} value */
function fact(name, value) {
  const pair = document.createElement("div");
  const term = document.createElement("dt");
  const description = document.createElement("dd");
  term.textContent = name;
  description.textContent = value || "–";
  pair.append(term, description);
  return pair;
}
