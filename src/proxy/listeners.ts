import type { Server, Socket } from "node:net";
import type { AppName, NetworkId } from "../core/ids.ts";
import type { NetworkPlane } from "../network/plane.ts";
import type { ChangeFeed, RegistryView } from "../registry/view.ts";
import { Listed } from "./listed.ts";
import type { Log } from "./phases.ts";

/** Ports of one range that are listened on; configuration refuses wider ones. */
const WIDEST_RANGE = 1024;

/** Ports of an app, and the networks on which it has addresses. */
interface Use {
  readonly ports: ReadonlySet<number>;
  readonly networks: ReadonlySet<NetworkId>;
}
const NO_USE: Use = { ports: new Set(), networks: new Set() };

interface ListenersOptions {
  readonly view: RegistryView;
  readonly changes: ChangeFeed;
  readonly plane: NetworkPlane;
  readonly log: Log;
  readonly onConnection: (socket: Socket) => void;
}

/**
 * One listener per external port that any app with an address uses, whatever the number of apps. Follows the registry:
 * what one change costs depends on the app that changed and not on how many there are.
 */
export class Listeners {
  readonly #options: ListenersOptions;
  readonly #uses = new Map<AppName, Use>();
  readonly #users = new Map<number, number>();
  readonly #listed = new Listed();
  readonly #servers = new Map<number, Server>();
  readonly #stale = new Set<AppName>();
  readonly #unsubscribe: () => void;
  #running: Promise<void> | undefined;
  #closed = false;

  constructor(options: ListenersOptions) {
    this.#options = options;
    // Whether or not a service has them: what comes there and is for none is reset and counted as on any other port.
    for (const port of options.plane.sharedPorts ?? []) this.#users.set(port, 1);
    for (const app of options.view.apps()) this.#stale.add(app.name);
    this.#unsubscribe = options.changes.subscribe((change) => {
      if (change.kind === "app") this.#mark(change.name);
      else if (change.kind === "address" || change.kind === "machine") this.#mark(change.app);
    });
  }

  #mark(app: AppName): void {
    this.#stale.add(app);
    // Changes come in crowds (a whole workspace): the first one pays for all.
    setImmediate(() => void this.sync());
  }

  /** Resolves when every port that was in use at the call is listened on, or was logged as impossible. */
  async sync(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
    this.#running = this.#reconcile();
    try {
      await this.#running;
    } finally {
      this.#running = undefined;
    }
  }

  async #reconcile(): Promise<void> {
    for (const app of this.#stale) this.#recount(app);
    this.#stale.clear();
    if (this.#closed) return;
    for (const [port, server] of this.#servers) {
      if (this.#users.has(port)) continue;
      this.#servers.delete(port);
      server.close();
    }
    for (const port of this.#users.keys()) {
      if (!this.#servers.has(port)) await this.#listen(port);
    }
    await this.#list();
  }

  /** After the listeners are there: before, a connection is refused anyway. */
  async #list(): Promise<void> {
    const { plane, log } = this.#options;
    const changes = this.#listed.changes();
    try {
      if (changes.added.length > 0 || changes.removed.length > 0) {
        await plane.listPorts?.(changes.added, changes.removed);
      }
      this.#listed.told(changes);
    } catch (err) {
      log.error({ err }, "ports that services use cannot be opened in the network");
    }
  }

  #recount(app: AppName): void {
    const before = this.#uses.get(app) ?? NO_USE;
    const now = this.#useOf(app);
    for (const port of now.ports) if (!before.ports.has(port)) this.#users.set(port, (this.#users.get(port) ?? 0) + 1);
    for (const port of before.ports) {
      if (now.ports.has(port)) continue;
      const users = (this.#users.get(port) ?? 1) - 1;
      if (users > 0) this.#users.set(port, users);
      else this.#users.delete(port);
    }
    this.#listed.count(now, 1);
    this.#listed.count(before, -1);
    if (now.ports.size > 0) this.#uses.set(app, now);
    else this.#uses.delete(app);
  }

  #useOf(app: AppName): Use {
    const { view } = this.#options;
    const ports = new Set<number>();
    const networks = new Set(view.addressesOf(app).map(({ network }) => network));
    if (networks.size === 0) return NO_USE;
    for (const { port } of view.routesOf(app)) {
      const last = Math.min(port.end, port.start + WIDEST_RANGE - 1);
      for (let number: number = port.start; number <= last; number++) ports.add(number);
    }
    return { ports, networks };
  }

  async #listen(port: number): Promise<void> {
    try {
      // Loopback mode has none: everything comes through published ports.
      const server = await this.#options.plane.listenPrivate(port);
      if (server === undefined) return;
      if (this.#closed) return void server.close();
      server.on("connection", this.#options.onConnection);
      server.on("error", (err) => this.#options.log.error({ err, port }, "a listener failed"));
      this.#servers.set(port, server);
    } catch (err) {
      this.#options.log.error({ err, port }, "cannot listen on a port that services use");
    }
  }

  /** Takes no new connections; those that are open go on. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#unsubscribe();
    await this.#running;
    for (const server of this.#servers.values()) server.close();
    this.#servers.clear();
  }
}
