// Times and numbers as text.

const clock = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});
const clockWithMs = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  fractionalSecondDigits: 3,
  hourCycle: "h23",
});
const whole = new Intl.NumberFormat();
const oneDigit = new Intl.NumberFormat(undefined, {
  minimumFractionDigits: 1,
  maximumFractionDigits: 1,
});

// Numbers from the network may be outside the range of a date.
/** @param {number} unixMs */
function isDate(unixMs) {
  return !Number.isNaN(new Date(unixMs).getTime());
}

/** @param {number} unixMs */
export function clockTime(unixMs) {
  return isDate(unixMs) ? clock.format(unixMs) : "";
}

/** @param {number} unixMs */
export function preciseTime(unixMs) {
  return isDate(unixMs) ? clockWithMs.format(unixMs) : "";
}

/** @param {number} count */
export function wholeNumber(count) {
  return whole.format(count);
}

/** @param {number} value */
export function decimal(value) {
  return oneDigit.format(value);
}

/** @param {number} count @param {string} noun that takes an s */
export function counted(count, noun) {
  return `${whole.format(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** @param {number} unixMs */
export function isoTime(unixMs) {
  return isDate(unixMs) ? new Date(unixMs).toISOString() : "";
}
