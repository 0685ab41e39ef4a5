// React hooks for event-relay-client. The application makes one client, and gives it to all:
//
//   const relay = connect({ url, token });
//   <RelayContext.Provider value={relay}>…</RelayContext.Provider>

import { createContext, useCallback, useContext, useEffect, useState, useSyncExternalStore } from "react";

/**
 * @typedef {import("../../edge/static/relay-client.d.ts").RelayClient} RelayClient
 * @typedef {import("../../edge/static/relay-client.d.ts").RelayMessage} RelayMessage
 */

export const RelayContext = createContext(/** @type {RelayClient | null} */ (null));

function useClient() {
  const relay = useContext(RelayContext);
  if (!relay) throw new Error("RelayContext has no client");
  return relay;
}

/** The newest events of a topic or pattern, oldest first. @param {string} topic @param {number} last */
export function useRelay(topic, last = 50) {
  const relay = useClient();
  const [events, setEvents] = useState(/** @type {RelayMessage[]} */ ([]));
  useEffect(() => {
    setEvents([]);
    /** @param {RelayMessage} event */
    const add = (event) => setEvents((seen) => [...seen, event].slice(-last));
    return relay.subscribe(topic, add, { last });
  }, [relay, topic, last]);
  return events;
}

/** The state of the connection: "connecting", "live", "waiting"… */
export function useRelayState() {
  const relay = useClient();
  const listen = useCallback((/** @type {() => void} */ notify) => relay.onState(notify), [relay]);
  return useSyncExternalStore(listen, () => relay.state.name);
}
