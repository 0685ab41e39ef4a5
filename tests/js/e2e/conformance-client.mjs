// relay-client.js in Node, controlled by tests/conformance/node_client.py with JSON lines: it reads
// commands from standard input, and writes what the client was told to standard output. An event's
// data has the numbers `n` and, in the chaos tests, `run`; further fields are not told.

import { createInterface } from "node:readline";
import WebSocket from "ws";

import { connect } from "../../../edge/static/relay-client.js";

const { url, patterns, last } = JSON.parse(process.argv[2]);
const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);
const tokens = [];

function token() {
  say({ type: "token" });
  return new Promise((resolve) => tokens.push(resolve));
}

const relay = connect({ url, token, WebSocket, maxDelayMs: 500 });

function hear(via) {
  return ({ topic, data: { n, run }, offset, stream = topic.split(":")[0], retained = false }) => {
    say({ type: "heard", via, topic, stream, data: { n, run }, offset, retained });
  };
}

for (const pattern of patterns) relay.subscribe(pattern, hear(pattern), { last: last ?? undefined });
relay.onTask(hear("tasks"));
relay.onAddressed(hear("addressed"));
relay.onState(({ name, code }) => say({ type: "state", name, code }));
relay.onGap(({ stream, from, to }) => say({ type: "gap", stream, from, to }));
relay.onRestart(() => say({ type: "restart" }));
relay.onError(({ topic, code }) => say({ type: "refused", topic, code }));

// Every event up to the position was written before it.
setInterval(() => say({ type: "position", ...relay.position }), 200).unref();

async function call({ id, name, arguments: given }) {
  try {
    say({ type: "outcome", id, value: (await relay[name](...given)) ?? null });
  } catch (error) {
    say({ type: "outcome", id, code: error.code, message: error.message });
  }
}

const commands = createInterface({ input: process.stdin });
commands.on("line", (line) => {
  const command = JSON.parse(line);
  if (command.type === "token") tokens.shift()?.(command.token);
  else void call(command);
});
commands.on("close", () => relay.close());
