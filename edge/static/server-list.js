// Which servers there are, as the events tell: their status, process and manager.
// Decides only; servers.js draws it.

/**
 * @typedef {import("./relay-client.js").RelayMessage} RelayMessage
 * @typedef {{at: number, emittedAt?: number, source?: string}} Moment when something was heard
 *   (Unix milliseconds, our clock), and when and by whom it was said, by that one's clock
 * @typedef {{
 *   name: string,
 *   status: string,
 *   statusAt: number,
 *   changed: Moment,
 *   run: Moment,
 *   pid: number | null,
 *   manager: string,
 *   managerHeardAt: number,
 * }} Server `status` is as its manager wrote it, or "" while unknown; `statusAt` is when it was
 *   last told; `changed` when it became another; `run` since when a reading can be of the process
 *   that the status means; `managerHeardAt` when the manager last listed it (Unix milliseconds,
 *   our clock), 0 for never
 */

export const MAX_SERVERS = 200;
const MAX_TOPIC_BYTES = 255;
// Managers list their servers every 5 s; three lists missed mean that nobody is there.
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
 * Whether one was said before the other. One emitter's clock orders what it said, for readings and
 * events come by ways of their own; between two emitters the order of arrival has to do.
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

/** The topic of a server's readings. @param {string} name */
export function resourceTopic(name) {
  return `resource-monitor:${name}`;
}

/**
 * Whether a name from the wire can be a server here: one that could not stand in a topic, or would
 * be a pattern, must not become a subscription.
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

/** Whether an `after_` event says that the operation did not work. @param {RelayMessage} message */
function hasFailed(message) {
  const result = /** @type {{status?: unknown} | null | undefined} */ (message.data.result);
  return result?.status === "error";
}

export class ServerList {
  /** @type {Map<string, Server>} */
  #servers = new Map();
  /** Whether some are left out. */
  hasTooMany = false;

  /** In the order of their names. */
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
   * @returns {Server[]} those it says something about
   */
  apply(message, now) {
    if (message.topic === STATUSES_TOPIC) return this.#listed(message, now);
    const server = this.#find(message.data?.server_name, message);
    if (!server) return [];
    const status = STATUS_AFTER.get(message.topic);
    if (status !== undefined && !hasFailed(message)) told(server, status, momentOf(message, now));
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
      if (typeof item.status === "string") told(server, item.status, momentOf(message, now));
      server.pid = typeof item.pid === "number" ? item.pid : null;
      server.managerHeardAt = now;
      found.push(server);
    }
    return found;
  }

  /**
   * @param {unknown} name
   * @param {RelayMessage} message
   * @returns {Server | undefined} a new one when the name has not been seen
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
function told(server, status, moment) {
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
 * What a card has to say about its manager; empty when all is well.
 * @param {Server} server
 * @param {number} listeningSince when the page's connection became live, Unix milliseconds
 * @param {number} now Unix milliseconds
 */
export function managerNote(server, listeningSince, now) {
  if (server.managerHeardAt === 0) return "";
  const silentMs = now - Math.max(server.managerHeardAt, listeningSince);
  return silentMs < MANAGER_SILENT_AFTER_MS ? "" : `${server.manager} is silent`;
}
