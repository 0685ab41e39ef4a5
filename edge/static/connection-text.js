// The words of the page for the state of its connection. No DOM: dashboard.js shows them.

/** @typedef {import("./relay-client.js").ConnectionState} ConnectionState */

/** @type {ReadonlyMap<number, string>} */
const REASONS = new Map([
  [1001, "the server is restarting"],
  [1006, "the server cannot be reached"],
  [1008, "the session was refused"],
  [1012, "the server is restarting"],
  [1013, "the server has to be asked later"],
  [4001, "the session has to be renewed"],
  [4003, "the server has ended the session"],
  [4008, "this page could not keep up"],
  [4009, "too many connections are open"],
  [4013, "the relay is away"],
  [4029, "this page sent too many messages"],
]);

/**
 * Returns the same words for `connecting` and `waiting` after a lost connection, so that a screen
 * reader does not announce every try.
 * @param {ConnectionState} state
 */
export function connectionText(state) {
  if (state.name === "live") return "Live";
  if (state.name === "unauthenticated") return "Signed out";
  if (state.name === "closed") {
    return state.code === 1000 ? "Closed" : `Stopped: ${state.reason || `code ${state.code}`}`;
  }
  if (state.code === undefined) return "Connecting";
  if (state.reason?.startsWith("overloaded")) return "Reconnecting, the server is busy";
  const reason = REASONS.get(state.code) ?? `the connection was lost (code ${state.code})`;
  return `Reconnecting, ${reason}`;
}
