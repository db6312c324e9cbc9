import type { Server } from "node:net";
import type { AppName, Ip6 } from "../core/ids.ts";
import type { Port } from "../core/units.ts";
import type { Outside } from "../network/outside.ts";
import type { FlycastAddress } from "../registry/model.ts";
import type { PortRoute, RegistryView } from "../registry/view.ts";

/** A port of the computer that stands for one Flycast address and port. */
export interface PublishedPort {
  readonly app: AppName;
  readonly address: Ip6;
  readonly port: number;
  readonly host: string;
  readonly hostPort: number;
}

/** Ports with `tls` for which there is no certificate (every `[http_service]` lists one, 443) are left out: nobody could use them. */
export interface Publisher {
  /** Opens what is missing and closes what no longer leads anywhere. @errors port_taken, no_privilege for ports that a person chose. */
  sync(): Promise<void>;
  list(): readonly PublishedPort[];
  /** The published port of an app's service, on the given network if it has an address there. */
  find(app: AppName, port: number, network?: FlycastAddress["network"]): PublishedPort | undefined;
  close(): Promise<void>;
}

export interface PublisherOptions {
  readonly view: RegistryView;
  readonly outside: Outside;
  readonly attach: (address: Ip6, port: number, server: Server) => void;
  /** Where a person wants a port; undefined: any free loopback port. */
  readonly fixed: (app: AppName, port: number) => { readonly host: string; readonly port: Port } | undefined;
  /** Open no others than those. @default false */
  readonly fixedOnly?: boolean;
  /** The ports of the last run by `address port`: tried first, so that a bookmark stays good. */
  readonly remembered: ReadonlyMap<string, number>;
}

// A range is published port by port, each one a listener of the computer: a wide one would eat its ports.
const WIDEST_RANGE = 16;

export function createPublisher(options: PublisherOptions): Publisher {
  const open = new Map<string, { readonly published: PublishedPort; readonly server: Server }>();
  let running: Promise<void> = Promise.resolve();

  async function reconcile(): Promise<void> {
    const wanted = new Map<string, { address: FlycastAddress; port: number; first: boolean }>();
    for (const app of options.view.apps()) {
      const routes = options.view.routesOf(app.name);
      const isReachable = ({ port }: PortRoute): boolean =>
        !port.handlers.has("tls") || app.tls !== undefined || port.tlsOptions.defaultSelfSigned;
      for (const [index, address] of ownFirst(options.view, app.name).entries()) {
        for (const port of portsOf(routes.filter(isReachable))) {
          if (options.fixedOnly === true && (index > 0 || options.fixed(app.name, port) === undefined)) continue;
          wanted.set(`${address.address} ${port}`, { address, port, first: index === 0 });
        }
      }
    }
    for (const [key, { server }] of open) {
      if (wanted.has(key)) continue;
      open.delete(key);
      server.close();
    }
    for (const [key, { address, port, first }] of wanted) {
      if (open.has(key)) continue;
      // A port that a person chose belongs to the app's first address; the others get free ones.
      const fixed = first ? options.fixed(address.app, port) : undefined;
      const server = await listen(key, fixed);
      const bound = server.address();
      const hostPort = typeof bound === "object" && bound !== null ? bound.port : 0;
      options.attach(address.address, port, server);
      const published = {
        app: address.app,
        address: address.address,
        port,
        host: fixed?.host ?? "127.0.0.1",
        hostPort,
      };
      open.set(key, { published, server });
    }
  }

  async function listen(key: string, fixed: { host: string; port: number } | undefined): Promise<Server> {
    if (fixed !== undefined) return options.outside.listen(fixed.host, fixed.port);
    const before = options.remembered.get(key);
    if (before !== undefined) {
      try {
        return await options.outside.listen("127.0.0.1", before);
      } catch {
        // Somebody else has it now.
      }
    }
    return options.outside.listen("127.0.0.1", 0);
  }

  return {
    sync() {
      running = running.catch(() => undefined).then(reconcile);
      return running;
    },
    list: () => [...open.values()].map(({ published }) => published),
    find(app, port, network) {
      const mine = [...open.values()].map(({ published }) => published).filter((p) => p.app === app && p.port === port);
      const here = mine.find((p) => options.view.addressAt(p.address)?.network === network);
      return here ?? mine[0];
    },
    async close() {
      await running.catch(() => undefined);
      for (const { server } of open.values()) server.close();
      open.clear();
    },
  };
}

/** Addresses of an app, the one on its own network first. */
function ownFirst(view: RegistryView, app: AppName): readonly FlycastAddress[] {
  const own = view.app(app)?.network;
  return view.addressesOf(app).toSorted((a, b) => Number(b.network === own) - Number(a.network === own));
}

function portsOf(routes: readonly PortRoute[]): readonly number[] {
  const ports = new Set<number>();
  for (const { port } of routes) {
    const last = Math.min(port.end, port.start + WIDEST_RANGE - 1);
    for (let p: number = port.start; p <= last; p++) ports.add(p);
  }
  return [...ports].toSorted((a, b) => a - b);
}
