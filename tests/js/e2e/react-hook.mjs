// Run by tests/e2e/test_javascript_clients.py: renders the hooks of the example against an edge,
// and prints each new text. Arguments: URL, token.

import { createElement, StrictMode } from "react";
import TestRenderer from "react-test-renderer";
import WebSocket from "ws";

import { RelayContext, useRelay, useRelayState } from "../../../examples/react-hook/use-relay.js";
import { connect } from "../../../edge/static/relay-client.js";

const [url, token] = process.argv.slice(2);
const relay = connect({ url, token: () => token ?? "", WebSocket });

function Numbers() {
  const events = useRelay("event:*", 3);
  return `${useRelayState()}: ${events.map(({ data }) => data.n).join(" ")}`;
}

const provider = createElement(RelayContext.Provider, { value: relay }, createElement(Numbers));
const root = TestRenderer.create(createElement(StrictMode, null, provider));
let shown = "";
const timer = setInterval(() => {
  const text = String(root.toJSON());
  if (text !== shown) console.log(text);
  shown = text;
  if (!text.endsWith("4 5 6")) return;
  clearInterval(timer);
  root.unmount();
  relay.close();
}, 5);
