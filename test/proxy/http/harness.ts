import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { systemClock, type Clock } from "../../../src/core/clock.ts";
import type { RegionCode } from "../../../src/core/ids.ts";
import type { HttpOptions, Limits } from "../../../src/config/model.ts";
import type { Connection, Settlement } from "../../../src/proxy/context.ts";
import type { AccessLine } from "../../../src/proxy/http/access-log.ts";
import type { FlySrcSigner } from "../../../src/proxy/http/fly-src.ts";
import { createHttpHandler, type HttpHandler } from "../../../src/proxy/http/handler.ts";
import type { WallTime } from "../../../src/core/units.ts";
import type { PortRoute, RegistryView } from "../../../src/registry/view.ts";
import { PLAIN_LIMITS } from "../../support/plain-values.ts";
import { connectionTo, httpRoute, StaticReach } from "../../support/static-reach.ts";

/** A view in which every address leads to `route` of app `web`, and nothing else exists. */
export function viewOf(route: PortRoute, more: Partial<RegistryView> = {}): RegistryView {
  const connection = connectionTo(route, systemClock);
  const view: Partial<RegistryView> = {
    machine: () => undefined,
    app: () => undefined,
    addressAt: (address) => ({ ...connection, address, createdAt: 0 as WallTime }),
    route: () => route,
    ...more,
  };
  return view as RegistryView;
}

export interface Front {
  readonly port: number;
  readonly handler: HttpHandler;
  readonly reach: StaticReach;
  readonly settlements: Settlement[];
  readonly access: AccessLine[];
  close(): Promise<void>;
}

/** The handler behind a real listener, in front of whatever listens on `originPort`. */
export async function startFront(
  originPort: number | (() => number),
  how: {
    type?: "connections" | "requests";
    http?: Partial<HttpOptions>;
    clock?: Clock;
    limits?: Partial<Limits>;
    connection?: Partial<Connection>;
    view?: Partial<RegistryView>;
    signer?: FlySrcSigner;
    trace?: () => boolean;
  } = {},
): Promise<Front> {
  const clock = how.clock ?? systemClock;
  const reach = new StaticReach(typeof originPort === "number" ? () => originPort : originPort);
  const route = httpRoute(how);
  const settlements: Settlement[] = [];
  const access: AccessLine[] = [];
  const handler = createHttpHandler({
    reach,
    view: viewOf(route, how.view),
    limits: { ...PLAIN_LIMITS, ...how.limits },
    clock,
    random: randomBytes,
    region: "iad" as RegionCode,
    signer: how.signer,
    ...(how.trace === undefined ? {} : { trace: how.trace }),
    onSettled: (settlement) => settlements.push(settlement),
    onAccess: (line) => access.push(line),
    log: { error: (details, message) => console.error(message, details) },
  });
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    void handler.serve(connectionTo(route, clock, how.connection), socket, undefined);
  });
  const port = await listen(server);
  return {
    port,
    handler,
    reach,
    settlements,
    access,
    async close() {
      server.close();
      await handler.close();
    },
  };
}

export async function listen(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

/** An origin that is a script over sockets: what it was sent, byte for byte, and what the test makes it answer. */
export interface RawOrigin {
  readonly port: number;
  readonly connections: RawPeer[];
  /** The next connection that is accepted and not yet taken. */
  next(): Promise<RawPeer>;
  close(): Promise<void>;
}

export async function startRawOrigin(onConnection?: (peer: RawPeer) => void): Promise<RawOrigin> {
  const connections: RawPeer[] = [];
  const waiting: ((peer: RawPeer) => void)[] = [];
  const ready: RawPeer[] = [];
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const peer = new RawPeer(socket);
    connections.push(peer);
    onConnection?.(peer);
    const waiter = waiting.shift();
    if (waiter === undefined) ready.push(peer);
    else waiter(peer);
  });
  const port = await listen(server);
  return {
    port,
    connections,
    next() {
      const peer = ready.shift();
      return peer === undefined ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(peer);
    },
    async close() {
      for (const peer of connections) peer.socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

/** One end of a TCP connection in a test. */
export class RawPeer {
  readonly socket: Socket;
  received = "";
  ended = false;
  closed = false;
  error: Error | undefined;
  #changed: (() => void)[] = [];

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setEncoding("latin1");
    socket.on("data", (text: string) => {
      this.received += text;
      this.#wake();
    });
    socket.on("end", () => {
      this.ended = true;
      this.#wake();
    });
    socket.on("error", (error) => {
      this.error = error;
      this.#wake();
    });
    socket.on("close", () => {
      this.closed = true;
      this.#wake();
    });
  }

  send(text: string): void {
    this.socket.write(text, "latin1");
  }

  end(text?: string): void {
    if (text === undefined) this.socket.end();
    else this.socket.end(text, "latin1");
  }

  reset(): void {
    this.socket.resetAndDestroy();
  }

  async until(condition: (peer: RawPeer) => boolean): Promise<void> {
    while (!condition(this)) {
      if (this.closed)
        throw new Error(`closed before the condition was met; received: ${JSON.stringify(this.received)}`);
      await new Promise<void>((resolve) => this.#changed.push(resolve));
    }
  }

  /** Waits for the text, and takes everything up to its end. */
  async take(text: string): Promise<string> {
    await this.until((peer) => peer.received.includes(text));
    const end = this.received.indexOf(text) + text.length;
    const taken = this.received.slice(0, end);
    this.received = this.received.slice(end);
    return taken;
  }

  async takeHead(): Promise<string> {
    return this.take("\r\n\r\n");
  }

  /** Everything until the other side ended. */
  async rest(): Promise<string> {
    while (!this.ended && !this.closed) await new Promise<void>((resolve) => this.#changed.push(resolve));
    return this.received;
  }

  #wake(): void {
    const waiting = this.#changed;
    this.#changed = [];
    for (const resolve of waiting) resolve();
  }
}

export async function dial(port: number): Promise<RawPeer> {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
  await once(socket, "connect");
  return new RawPeer(socket);
}

/** Waits for something that happens elsewhere in this process. */
export async function eventually(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise<void>((resolve) => setImmediate(resolve));
}
