// The page as a whole: signing in and out, the connection, and the parts that use it.

import { connectionText } from "./connection-text.js";
import { find, setHidden, setText } from "./dom.js";
import { Feed } from "./feed.js";
import { clockTime } from "./format.js";
import { connect } from "./relay-client.js";
import { Servers } from "./servers.js";
import { loadMeanings, RefusedError, signIn, signOut, whoAmI } from "./session.js";
import { Tasks } from "./tasks.js";

/**
 * @typedef {import("./relay-client.js").RelayClient} RelayClient
 * @typedef {import("./relay-client.js").ConnectionState} ConnectionState
 * @typedef {import("./session.js").Session} Session
 */

const ASK_AGAIN_MS = 2_000;
const FIRST_EVENTS = 50;

const page = {
  signin: find(document, "#signin", HTMLElement),
  dashboard: find(document, "#dashboard", HTMLElement),
  account: find(document, "#account", HTMLElement),
  username: find(document, "#username", HTMLElement),
  role: find(document, "#role", HTMLElement),
  signout: find(document, "#signout", HTMLButtonElement),
  connection: find(document, "#connection", HTMLElement),
  connectionText: find(document, "#connection-text", HTMLElement),
  title: find(document, "#dashboard-title", HTMLElement),
  notice: find(document, "#page-notice", HTMLElement),
  restart: find(document, "#restart-notice", HTMLElement),
  restartText: find(document, "#restart-text", HTMLElement),
  restartDismiss: find(document, "#restart-dismiss", HTMLButtonElement),
  form: find(document, "#signin-form", HTMLFormElement),
  usernameField: find(document, "#signin-username", HTMLInputElement),
  passwordField: find(document, "#signin-password", HTMLInputElement),
  formMessage: find(document, "#signin-message", HTMLElement),
};

const feed = new Feed();
const servers = new Servers();
const tasks = new Tasks();
/** @type {RelayClient | null} */
let client = null;

/** @param {Session} session */
function showDashboard(session) {
  setText(page.username, session.username);
  setText(page.role, session.role);
  setHidden(page.signin, true);
  for (const element of [page.dashboard, page.account, page.connection]) setHidden(element, false);

  client = connect();
  client.onError((error) => showNotice(error.message));
  client.onRestart(() => {
    const seenAt = clockTime(Date.now());
    showRestart(`The relay was restarted at ${seenAt}; events may have been missed.`);
  });
  client.onGap((gap) => gap.stream === "event" && feed.addGap(gap));
  client.subscribe("event:*", (message) => feed.add(message), { last: FIRST_EVENTS });
  servers.start(client);
  tasks.start(client);
  client.onState(showConnection);
  loadMeanings().then(
    (meanings) => feed.setMeanings(meanings),
    (error) => console.error("The topics could not be loaded", error),
  );
}

/** @param {string} message the reason, or "" */
function showSignIn(message) {
  client?.close();
  client = null;
  // The next user must not see the data of this one.
  for (const part of [feed, servers, tasks]) part.clear();
  showNotice("");
  showRestart("");
  for (const element of [page.dashboard, page.account, page.connection]) setHidden(element, true);
  setHidden(page.signin, false);
  setText(page.formMessage, message);
  page.passwordField.value = "";
  (page.usernameField.value === "" ? page.usernameField : page.passwordField).focus();
}

/** @param {ConnectionState} state */
function showConnection(state) {
  page.connection.dataset.state = state.name;
  setText(page.connectionText, connectionText(state));
  if (state.name === "unauthenticated") showSignIn("Your session has ended. Please sign in again.");
}

/** @param {string} message "" for none */
function showNotice(message) {
  setText(page.notice, message);
  setHidden(page.notice, message === "");
}

/**
 * Shows or hides the notice. Its live region always stays in the page: a screen reader may not
 * announce a region that appears together with its text.
 * @param {string} message "" for none
 */
function showRestart(message) {
  setText(page.restartText, message);
  setHidden(page.restartDismiss, message === "");
  page.restart.classList.toggle("visually-hidden", message === "");
}

function onDismissRestart() {
  showRestart("");
  page.title.focus({ preventScroll: true });
}

/** @param {SubmitEvent} event */
async function onSignIn(event) {
  event.preventDefault();
  const submit = find(page.form, "button", HTMLButtonElement);
  submit.disabled = true;
  setText(page.formMessage, "");
  try {
    await signIn(page.usernameField.value, page.passwordField.value);
    const session = await whoAmI();
    if (!session) throw new RefusedError("This browser did not keep the session cookie.");
    page.passwordField.value = "";
    showDashboard(session);
    page.title.focus();
  } catch (error) {
    setText(page.formMessage, error instanceof Error ? error.message : String(error));
    page.passwordField.focus();
    page.passwordField.select();
  } finally {
    submit.disabled = false;
  }
}

async function onSignOut() {
  try {
    await signOut();
    showSignIn("");
    page.usernameField.focus();
    page.usernameField.select();
  } catch (error) {
    showNotice("You are still signed in: the server cannot be reached.");
    console.error(error);
  }
}

async function start() {
  try {
    const session = await whoAmI();
    if (session) showDashboard(session);
    else showSignIn("");
  } catch (error) {
    setHidden(page.connection, false);
    setText(page.connectionText, "Waiting for the server");
    console.error(error);
    setTimeout(start, ASK_AGAIN_MS);
  }
}

page.form.addEventListener("submit", onSignIn);
page.signout.addEventListener("click", onSignOut);
page.restartDismiss.addEventListener("click", onDismissRestart);
void start();
