// Which servers there are, as the events tell: their status, process and manager.
// Decides only; servers.js draws it.

/**
 * @typedef {import("./relay-client.js").RelayMessage} RelayMessage
 * @typedef {{
 *   name: string,
 *   status: string,
 *   pid: number | null,
 *   manager: string,
 *   managerHeardAt: number,
 * }} Server `status` is as its manager wrote it, or "" while unknown; `managerHeardAt` is when
 *   the manager last listed it (Unix milliseconds, our clock), 0 for never
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
    if (!hasFailed(message)) server.status = STATUS_AFTER.get(message.topic) ?? server.status;
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
    const told = [];
    for (const item of listed) {
      const server = this.#find(item?.name, message);
      if (!server) continue;
      if (typeof item.status === "string") server.status = item.status;
      server.pid = typeof item.pid === "number" ? item.pid : null;
      server.managerHeardAt = now;
      told.push(server);
    }
    return told;
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
      server = { name, status: "", pid: null, manager: "", managerHeardAt: 0 };
      this.#servers.set(name, server);
    }
    server.manager = message.source ?? server.manager;
    return server;
  }
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
