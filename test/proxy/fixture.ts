import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { onTestFinished } from "vitest";
import { createCloseness } from "../../src/balancer/closeness.ts";
import type { Limits } from "../../src/config/model.ts";
import { systemClock } from "../../src/core/clock.ts";
import type { Ip6, OrgSlug } from "../../src/core/ids.ts";
import type { WallTime } from "../../src/core/units.ts";
import { flycastAddress, parseIp6 } from "../../src/network/address.ts";
import type { Caller } from "../../src/network/caller.ts";
import { createLoopbackPlane } from "../../src/network/loopback.ts";
import type { DialAddress, NetworkPlane } from "../../src/network/plane.ts";
import type { Handler, Reach, Settlement } from "../../src/proxy/context.ts";
import { createProxy, type Proxy, type ProxyOptions } from "../../src/proxy/proxy.ts";
import { Catalogue } from "../../src/registry/catalogue.ts";
import { Feed } from "../../src/registry/change-feed.ts";
import type { CatalogueEvent } from "../../src/registry/events.ts";
import type { App, Machine } from "../../src/registry/model.ts";
import type { RegistryView } from "../../src/registry/view.ts";
import { APP, HOME, IAD, LIMITS, unknownCaller } from "./values.ts";
import { StaticPool, type StaticMachine } from "../support/static-pool.ts";

/** A server that plays the app inside a Machine; closed, with its connections, when the test ends. */
export async function upstream(onConnection: (socket: Socket) => void, host = "127.0.0.1"): Promise<DialAddress> {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    open(socket);
    onConnection(socket);
  });
  server.listen(0, host);
  await once(server, "listening");
  onTestFinished(() => void server.close());
  return { host, port: portOf(server) };
}

export function echo(socket: Socket): void {
  socket.pipe(socket);
}

/** A port of the loopback address where nobody listens. */
export async function closedPort(): Promise<DialAddress> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = { host: "127.0.0.1", port: portOf(server) };
  server.close();
  await once(server, "close");
  return address;
}

export function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}

/** Destroyed when the test ends; its errors are the test's to look at, not the process's to die of. */
export function open(socket: Socket): Socket {
  socket.on("error", () => {});
  onTestFinished(() => void socket.destroy());
  return socket;
}

export interface World {
  readonly proxy: Proxy;
  readonly pool: StaticPool;
  readonly catalogue: Catalogue;
  readonly settled: Settlement[];
  readonly logged: string[];
  readonly feed: Feed;
  apply(event: CatalogueEvent): void;
  add(machine: Machine, behaviour: StaticMachine): void;
  /** A client of a published port; the first one by default. */
  dial(externalPort?: number): Socket;
  /** The address that a published client dials, as the proxy knows it. */
  readonly address: Ip6;
  readonly publishedPort: (externalPort?: number) => number;
  /** Resolves when so many connections have been settled. */
  whenSettled(count: number): Promise<readonly Settlement[]>;
}

export interface WorldOptions {
  readonly limits?: Partial<Limits>;
  readonly ports?: readonly number[];
  readonly http?: (reach: Reach, onSettled: (settlement: Settlement) => void, view: RegistryView) => Handler;
  readonly plane?: NetworkPlane;
  readonly identify?: (address: string, port: number) => Caller;
  readonly app?: Partial<App>;
  readonly more?: Partial<ProxyOptions>;
}

const refusing: Handler = {
  async serve(_connection, socket) {
    socket.destroy();
  },
};

/** A proxy with a real catalogue, published on loopback ports, and Machines that the test brings. */
export async function world(options: WorldOptions = {}): Promise<World> {
  const catalogue = new Catalogue();
  const logged: string[] = [];
  const feed = new Feed((message) => logged.push(message));
  const apply = (event: CatalogueEvent): void => {
    const change = catalogue.apply(event);
    if (change !== undefined) feed.send(change);
  };
  const pool = new StaticPool(catalogue, systemClock);
  const settled: Settlement[] = [];
  const waiting = new Set<() => void>();
  const log = (details: object, message: string): void => void logged.push(`${message} ${JSON.stringify(details)}`);
  const address = flycastAddress(HOME, 1);
  apply({
    kind: "app",
    value: {
      name: APP,
      number: 1,
      org: "personal" as OrgSlug,
      network: HOME,
      primaryRegion: IAD,
      protocol: "auto",
      idleSessions: "keep",
      tls: undefined,
      createdAt: 0 as WallTime,
      ...options.app,
    },
  });
  apply({ kind: "address", value: { address, app: APP, network: HOME, createdAt: 0 as WallTime } });

  const proxy = createProxy({
    view: catalogue,
    changes: feed,
    pool,
    plane: options.plane ?? createLoopbackPlane(),
    limits: { ...LIMITS, ...options.limits },
    region: IAD,
    closeness: createCloseness([]),
    clock: systemClock,
    random: Math.random,
    identify: options.identify ?? unknownCaller,
    http: (reach, onSettled) => options.http?.(reach, onSettled, catalogue) ?? refusing,
    onSettled: (settlement) => {
      settled.push(settlement);
      for (const look of waiting) look();
    },
    log: { debug: log, info: log, warn: log, error: log },
    trust: [],
    ...options.more,
  });
  onTestFinished(() => proxy.close());

  const published = new Map<number, Server>();
  for (const externalPort of options.ports ?? [5000]) {
    const server = createServer({ allowHalfOpen: true, noDelay: true });
    server.listen({ host: "127.0.0.1", port: 0, backlog: 4096 });
    await once(server, "listening");
    proxy.listenPublished(address, externalPort, server);
    published.set(externalPort, server);
  }
  const publishedPort = (externalPort = options.ports?.[0] ?? 5000): number => portOf(published.get(externalPort)!);

  return {
    proxy,
    pool,
    catalogue,
    settled,
    logged,
    feed,
    apply,
    add(value, behaviour) {
      apply({ kind: "machine", value });
      pool.add(value, behaviour);
    },
    dial: (externalPort) =>
      open(connect({ host: "127.0.0.1", port: publishedPort(externalPort), allowHalfOpen: true, noDelay: true })),
    address,
    publishedPort,
    whenSettled: (count) =>
      new Promise((resolve) => {
        const look = (): void => {
          if (settled.length < count) return;
          waiting.delete(look);
          resolve(settled);
        };
        waiting.add(look);
        look();
      }),
  };
}

export function ip6(text: string): Ip6 {
  const parsed = parseIp6(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
}

/** Everything that arrives until the other side ends. Rejects when the connection is reset. */
export function readAll(socket: Socket): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    socket.once("end", () => resolve(Buffer.concat(chunks)));
    socket.once("error", reject);
    socket.once("close", () => reject(new Error("closed without an end")));
    socket.resume();
  });
}

/** Exactly so many bytes, however they arrive. */
export function read(socket: Socket, count: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const stop = (): void => {
      socket.off("data", onData);
      socket.off("error", onError);
      socket.off("close", onClose);
    };
    const onData = (chunk: Buffer): void => {
      chunks.push(chunk);
      size += chunk.length;
      if (size < count) return;
      stop();
      socket.pause();
      const all = Buffer.concat(chunks);
      if (all.length > count) socket.unshift(all.subarray(count));
      resolve(all.subarray(0, count));
    };
    const onError = (error: Error): void => {
      stop();
      reject(error);
    };
    const onClose = (): void => onError(new Error(`closed after ${size} of ${count} bytes`));
    socket.on("data", onData);
    socket.once("error", onError);
    socket.once("close", onClose);
    socket.resume();
  });
}

/** How a connection ended: "end" for a proper end, else the code of the error. */
export function ending(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    socket.once("end", () => resolve("end"));
    socket.once("close", () => resolve("close"));
    socket.resume();
  });
}
