// The words of the page for lost events. No DOM: feed.js shows them.

import { counted, wholeNumber } from "./format.js";

/** @typedef {import("./relay-client.js").StreamGap} StreamGap */

/** @param {StreamGap} gap */
export function gapText({ from, to, reason }) {
  const count = to - from + 1;
  const verb = count === 1 ? "was" : "were";
  const what = reason === "retention" ? `${verb} not kept long enough` : `${verb} lost`;
  return `${counted(count, "event")} ${what}: ${offsetsText({ from, to })}`;
}

/** @param {{from: number, to: number}} offsets */
export function offsetsText({ from, to }) {
  return from === to ? wholeNumber(from) : `${wholeNumber(from)} to ${wholeNumber(to)}`;
}
