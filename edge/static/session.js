// The calls to the edge's HTTP API: the signed-in user, signing in and out, the user's tasks, the
// meanings of topics. The session itself is a cookie that scripts cannot read.

/**
 * @typedef {import("./relay-client.js").TaskMessage} TaskMessage
 * @typedef {{username: string, role: string}} Session
 */

/** The edge refused the request; `message` has its reason. */
export class RefusedError extends Error {}

/** The edge did not answer, or answered with an unexpected status. */
export class UnreachableError extends Error {}

/** @returns {Promise<Session | null>} null if no user is signed in */
export async function whoAmI() {
  const response = await call("auth/me");
  if (response.status === 401) return null;
  return (await expectOk(response)).json();
}

/** @param {string} username @param {string} password */
export async function signIn(username, password) {
  const body = new URLSearchParams({ grant_type: "password", username, password });
  const response = await call("auth/token", { method: "POST", body });
  if (response.status === 404) throw new RefusedError("Sign in at the application first.");
  if (response.status >= 400 && response.status < 500) {
    const { detail } = await response.json().catch(() => ({}));
    throw new RefusedError(
      typeof detail === "string" ? detail : "The username or the password is wrong.",
    );
  }
  await expectOk(response);
}

export async function signOut() {
  await expectOk(await call("auth/logout", { method: "POST" }));
}

/** @returns {Promise<TaskMessage[]>} newest first */
export async function loadTasks() {
  const { tasks } = await (await expectOk(await call("api/tasks"))).json();
  return tasks;
}

/** @returns {Promise<Map<string, string>>} the meaning of each known event topic */
export async function loadMeanings() {
  const { events } = await (await expectOk(await call("api/topics"))).json();
  /** @type {{topic: string, meaning: string}[]} */
  const known = events;
  return new Map(known.map(({ topic, meaning }) => [topic, meaning]));
}

/** @param {string} path below the page @param {RequestInit} [init] */
async function call(path, init) {
  try {
    return await fetch(new URL(`../${path}`, import.meta.url), { ...init, credentials: "same-origin", cache: "no-store" });
  } catch (error) {
    throw new UnreachableError("The server cannot be reached.", { cause: error });
  }
}

/** @param {Response} response */
async function expectOk(response) {
  if (response.ok) return response;
  throw new UnreachableError(`The server answered ${response.status}.`);
}
