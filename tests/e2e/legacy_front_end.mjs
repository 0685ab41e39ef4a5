// A page with the habits of the Bedrock Server Manager's front ends, written anew. It prints a line
// of JSON for everything that happens to it; test_legacy_front_end.py reads them.
//
//   node legacy_front_end.mjs '{"url":…,"road":…,"username":…,"password":…,"topics":[…]}'
//
// Its habits: it signs in with JSON and keeps the token; no request has an id; it takes every
// message with a topic for an event; it watches a task by its topic until the task has ended; it
// comes back after a lost connection, with all its subscriptions, unless it was closed with 1008 or
// in good order with a code of its own of the server.

const RETRY_MS = 300;
const LAST = ["success", "error", "completed", "failed", "cancelled"];
const { url, road, username, password, topics } = JSON.parse(process.argv[2]);

/** @param {Record<string, unknown>} line */
function tell(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

class Page {
  constructor(token, cookie) {
    this.token = token;
    this.cookie = cookie;
    this.subscriptions = new Set(topics);
    this.isWelcome = false;
  }

  connect() {
    this.isWelcome = false;
    const address = `${url.replace(/^http/, "ws")}/ws`;
    const query = road === "query" ? `?token=${encodeURIComponent(this.token)}` : "";
    const socket = new WebSocket(address + query, { headers: this.headers() });
    let isOver = false;
    const end = (code, isClean, reason) => {
      if (isOver) return;
      isOver = true;
      this.ended(code, isClean, reason);
    };
    this.socket = socket;
    socket.onopen = () => this.opened();
    socket.onmessage = ({ data }) => this.received(JSON.parse(data));
    socket.onclose = ({ code, wasClean, reason }) => end(code, wasClean, reason);
    // Some versions of Node tell of a connection that was never made in this way only.
    socket.onerror = () => setTimeout(end, 50, 1006, false, "");
  }

  /** The cookie goes with every handshake, as browsers send it, whatever else the page does. */
  headers() {
    const bearer = road === "header" ? { Authorization: `Bearer ${this.token}` } : {};
    return { Origin: url, Cookie: this.cookie, ...bearer };
  }

  opened() {
    tell({ opened: road });
    if (road === "first message") this.send({ action: "authenticate", token: this.token });
    else if (road === "cookie") this.send({ action: "authenticate" });
    else this.subscribeAll();
  }

  subscribeAll() {
    for (const topic of this.subscriptions) this.send({ action: "subscribe", topic });
  }

  send(message) {
    if (this.socket.readyState === 1) this.socket.send(JSON.stringify(message));
  }

  received(message) {
    tell({ received: message });
    if (message.message === "Authenticated successfully") this.subscribeAll();
    if (message.topic !== undefined && message.type === "task_update") this.watchTask(message);
  }

  watchTask({ topic, data }) {
    const hasEnded = LAST.includes(data.status);
    if (hasEnded && this.subscriptions.delete(topic)) {
      this.send({ action: "unsubscribe", topic });
    } else if (!hasEnded && !this.subscriptions.has(topic)) {
      this.subscriptions.add(topic);
      this.send({ action: "subscribe", topic });
    }
  }

  ended(code, isClean, reason) {
    tell({ ended: code, isClean, reason });
    if (code === 1008 || (isClean && code >= 4000)) tell({ stopped: code });
    else setTimeout(() => this.connect(), RETRY_MS);
  }
}

const response = await fetch(`${url}/auth/token`, {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify({ username, password, remember_me: true }),
});
const { access_token: token } = await response.json();
const [cookie] = response.headers.getSetCookie()[0].split(";");
// Another user of this browser has signed in since: the cookie is theirs.
const page = new Page(token, road === "first message" ? process.env.OTHER_COOKIE : cookie);
page.connect();
