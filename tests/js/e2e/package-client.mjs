// Run by tests/e2e/test_javascript_clients.py in a folder where the npm package is installed:
// prints the data of the first events as JSON lines. Arguments: URL, token, number of events.

import { connect } from "event-relay-client";
import WebSocket from "ws";

const [url, token, count] = process.argv.slice(2);
const relay = connect({ url, token: () => token ?? "", WebSocket });
let left = Number(count);
relay.onState(({ name }) => console.error(name));
relay.subscribe("event:*", ({ data }) => {
  console.log(JSON.stringify(data));
  left -= 1;
  if (left === 0) relay.close();
});
