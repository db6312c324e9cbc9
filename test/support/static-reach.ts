import { connect, type Socket } from "node:net";
import type { HttpOptions } from "../../src/config/model.ts";
import type { Clock } from "../../src/core/clock.ts";
import { AppError } from "../../src/core/errors.ts";
import type { AppName, Ip6, MachineId, NetworkId, RegionCode } from "../../src/core/ids.ts";
import { port, type Monotonic } from "../../src/core/units.ts";
import type { Claim, Endpoint } from "../../src/machines/pool.ts";
import type { Connection, Reach, Work } from "../../src/proxy/context.ts";
import type { PortRoute } from "../../src/registry/view.ts";
import { PLAIN_HTTP_OPTIONS } from "./plain-values.ts";

export const MACHINE = "d5683210c7968e" as MachineId;

/** A Reach with one Machine that always runs: real dials, counted claims, no balancing. */
export class StaticReach implements Reach {
  readonly claims = new Set<Claim>();
  /** Claims that were asked for, and given. */
  asked = 0;
  claimed = 0;
  dials = 0;
  answered = 0;
  generation = 1;
  /** When set, claims wait for it: a Machine that sleeps. */
  gate: Promise<void> | undefined;
  readonly #port: () => number;

  constructor(port: () => number) {
    this.#port = port;
  }

  claim(work: Work): Claim | Promise<Claim> {
    this.asked++;
    const gate = this.gate;
    if (gate === undefined) return this.#take(work);
    return new Promise((resolve, reject) => {
      work.signal.addEventListener("abort", () => reject(new AppError("FP10")));
      gate.then(() => resolve(this.#take(work)), reject);
    });
  }

  connect(_work: Work, claim: Claim): Promise<Socket> {
    this.dials++;
    return new Promise((resolve, reject) => {
      const socket = connect({ port: this.#port(), host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
      const onError = (error: Error): void => {
        claim.release();
        reject(new AppError("PR03", undefined, { cause: error }));
      };
      socket.once("error", onError);
      socket.once("connect", () => {
        socket.off("error", onError);
        resolve(socket);
      });
    });
  }

  async reach(work: Work): Promise<{ claim: Claim; socket: Socket }> {
    const claim = await this.claim(work);
    return { claim, socket: await this.connect(work, claim) };
  }

  firstByte(): void {
    this.answered++;
  }

  #take(work: Work): Claim {
    this.claimed++;
    const claim = new StaticClaim(this, work.app, this.generation);
    this.claims.add(claim);
    return claim;
  }
}

class StaticClaim implements Claim {
  readonly machine = MACHINE;
  readonly app: AppName;
  readonly generation: number;
  readonly endpoint: Endpoint;
  lastByte = 0 as Monotonic;
  readonly #reach: StaticReach;

  constructor(reach: StaticReach, app: AppName, generation: number) {
    this.#reach = reach;
    this.app = app;
    this.generation = generation;
    this.endpoint = { generation, addresses: [], startedAt: 0 as Monotonic, waking: false };
  }

  get ready(): Promise<Endpoint> {
    return Promise.resolve(this.endpoint);
  }

  onLost(): () => void {
    return () => undefined;
  }

  release(): void {
    this.#reach.claims.delete(this);
  }
}

export function httpRoute(how: { type?: "connections" | "requests"; http?: Partial<HttpOptions> } = {}): PortRoute {
  const servicePort = {
    start: port(80),
    end: port(80),
    handlers: new Set(["http"] as const),
    forceHttps: false,
    httpOptions: { ...PLAIN_HTTP_OPTIONS, ...how.http },
    tlsOptions: { alpn: undefined, versions: [], defaultSelfSigned: false },
    proxyProtocol: "v1" as const,
  };
  return {
    port: servicePort,
    service: {
      protocol: "tcp",
      internalPort: port(8080),
      ports: [servicePort],
      processes: ["app"],
      autostop: "stop",
      autostart: true,
      minMachinesRunning: 0,
      concurrency: { type: how.type ?? "requests", softLimit: 20, hardLimit: undefined },
      checks: [],
    },
  };
}

/** An accepted connection to app `web` from a peer at `fdaa:8000:1:a7b:1:0:a:102`. */
export function connectionTo(route: PortRoute, clock: Clock, more: Partial<Connection> = {}): Connection {
  return {
    id: 1,
    caller: {
      address: "fdaa:8000:1:a7b:1:0:a:102",
      port: 40_000,
      network: 0x80000001 as NetworkId,
      via: "peer",
      machine: undefined,
      region: "iad" as RegionCode,
    },
    destination: { address: "fdaa:8000:1:0:1::1" as Ip6, port: 80 },
    app: "web" as AppName,
    network: 0x80000001 as NetworkId,
    route,
    reported: undefined,
    tls: undefined,
    acceptedAt: clock.now(),
    ...more,
  };
}
