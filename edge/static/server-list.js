// The servers that events have named, with their status, process and manager.
// No DOM: servers.js draws it.

/**
 * @typedef {import("./relay-client.js").RelayMessage} RelayMessage
 * @typedef {{at: number, emittedAt?: number, source?: string}} Moment of a message: `at` is the
 *   time of its arrival by our clock, `emittedAt` the time of sending by the clock of its emitter
 *   `source` (Unix milliseconds)
 * @typedef {{
 *   name: string,
 *   status: string,
 *   statusAt: number,
 *   changed: Moment,
 *   run: Moment,
 *   pid: number | null,
 *   manager: string,
 *   managerHeardAt: number,
 * }} Server `status` is the manager's word, or "" while unknown; `statusAt` is the time of the last
 *   message about it, `changed` the moment of its last change; readings from before `run` are of an
 *   earlier process; `managerHeardAt` is the time when the manager last listed the server, 0 for
 *   never (times in Unix milliseconds, our clock)
 */

export const MAX_SERVERS = 200;
const MAX_TOPIC_BYTES = 255;
// Managers list their servers every 5 s; after three missing lists the manager counts as silent.
const MANAGER_SILENT_AFTER_MS = 16_000;

const STATUSES_TOPIC = "event:after_server_statuses_updated";
/** @type {ReadonlyMap<string, string>} */
const STATUS_AFTER = new Map([
  ["event:before_server_start", "STARTING"],
  ["event:after_server_start", "RUNNING"],
  ["event:before_server_stop", "STOPPING"],
  ["event:after_server_stop", "STOPPED"],
]);

const ENDED = new Set(["STOPPED", "CRASHED"]);

/** Whether a server of this status has no process. @param {string} status */
export function hasEnded(status) {
  return ENDED.has(status);
}

/**
 * Whether one message was emitted before the other. Readings and events of one emitter take
 * different paths, so its own clock orders them. Between two emitters the order of arrival decides.
 * @param {Moment} one @param {Moment} other
 */
export function isBefore(one, other) {
  const { emittedAt, source } = one;
  const hasOneClock = source !== undefined && source === other.source;
  if (hasOneClock && emittedAt !== undefined && other.emittedAt !== undefined) {
    return emittedAt < other.emittedAt;
  }
  return one.at < other.at;
}

/** @param {RelayMessage} message @param {number} now Unix milliseconds @returns {Moment} */
export function momentOf(message, now) {
  return { at: now, emittedAt: message.emitted_at, source: message.source };
}

/** Returns the topic of a server's readings. @param {string} name */
export function resourceTopic(name) {
  return `resource-monitor:${name}`;
}

/**
 * Whether a name from the network can be a server's. A name that is invalid in a topic, or that
 * would make it a pattern, must not become a subscription.
 * @param {unknown} name
 * @returns {name is string}
 */
export function isServerName(name) {
  return (
    typeof name === "string" &&
    name !== "" &&
    !/[\p{Cc}*]/u.test(name) &&
    new TextEncoder().encode(resourceTopic(name)).length <= MAX_TOPIC_BYTES
  );
}

/** Whether an `after_` event reports a failed operation. @param {RelayMessage} message */
function hasFailed(message) {
  const result = /** @type {{status?: unknown} | null | undefined} */ (message.data.result);
  return result?.status === "error";
}

export class ServerList {
  /** @type {Map<string, Server>} */
  #servers = new Map();
  /** Whether there are more servers than the list holds. */
  hasTooMany = false;

  /** The servers, sorted by name. */
  get servers() {
    return [...this.#servers.values()].sort((a, b) =>
      a.name.localeCompare(b.name, undefined, { numeric: true }),
    );
  }

  /** @param {string} name */
  get(name) {
    return this.#servers.get(name);
  }

  /**
   * @param {RelayMessage} message any `event:*`
   * @param {number} now Unix milliseconds
   * @returns {Server[]} the servers that the message names
   */
  apply(message, now) {
    if (message.topic === STATUSES_TOPIC) return this.#listed(message, now);
    const server = this.#find(message.data?.server_name, message);
    if (!server) return [];
    const status = STATUS_AFTER.get(message.topic);
    if (status !== undefined && !hasFailed(message)) {
      setStatus(server, status, momentOf(message, now));
    }
    return [server];
  }

  clear() {
    this.#servers.clear();
    this.hasTooMany = false;
  }

  /** @param {RelayMessage} message @param {number} now */
  #listed(message, now) {
    const listed = message.data?.servers;
    if (!Array.isArray(listed)) return [];
    const found = [];
    for (const item of listed) {
      const server = this.#find(item?.name, message);
      if (!server) continue;
      if (typeof item.status === "string") setStatus(server, item.status, momentOf(message, now));
      server.pid = typeof item.pid === "number" ? item.pid : null;
      server.managerHeardAt = now;
      found.push(server);
    }
    return found;
  }

  /**
   * @param {unknown} name
   * @param {RelayMessage} message
   * @returns {Server | undefined} a new one if the name is new; undefined if the list is full
   */
  #find(name, message) {
    if (!isServerName(name)) return undefined;
    let server = this.#servers.get(name);
    if (!server) {
      if (this.#servers.size >= MAX_SERVERS) {
        this.hasTooMany = true;
        return undefined;
      }
      server = {
        name,
        status: "",
        statusAt: 0,
        changed: { at: 0 },
        run: { at: 0 },
        pid: null,
        manager: "",
        managerHeardAt: 0,
      };
      this.#servers.set(name, server);
    }
    server.manager = message.source ?? server.manager;
    return server;
  }
}

/** @param {Server} server @param {string} status @param {Moment} moment */
function setStatus(server, status, moment) {
  const before = server.status;
  server.status = status;
  server.statusAt = moment.at;
  if (status === before) return;
  server.changed = moment;
  if (!hasEnded(before) && !hasEnded(status) && status !== "STARTING") return;
  server.run = moment;
  server.pid = null;
}

/**
 * Returns the note of a card about its manager; "" if there is nothing to note.
 * @param {Server} server
 * @param {number} listeningSince the time when the connection became live, Unix milliseconds
 * @param {number} now Unix milliseconds
 */
export function managerNote(server, listeningSince, now) {
  if (server.managerHeardAt === 0) return "";
  const silentMs = now - Math.max(server.managerHeardAt, listeningSince);
  return silentMs < MANAGER_SILENT_AFTER_MS ? "" : `${server.manager} is silent`;
}
