/** What one connection carries from phase to phase, and the faces between the phases and the handlers. */
import type { Socket } from "node:net";
import type { AppError, ErrorCode } from "../core/errors.ts";
import type { AppName, Ip6, MachineId, NetworkId, RegionCode } from "../core/ids.ts";
import type { Monotonic } from "../core/units.ts";
import type { Claim } from "../machines/pool.ts";
import type { Caller } from "../network/caller.ts";
import type { PortRoute } from "../registry/view.ts";
import type { Departure } from "./departure.ts";

/** An accepted connection whose destination and caller are known and allowed. */
export interface Connection {
  /** For logs: grows by one. */
  readonly id: number;
  readonly caller: Caller;
  /** The Flycast address and port as the caller dialled them. */
  readonly destination: { readonly address: Ip6; readonly port: number };
  readonly app: AppName;
  /** The network on which the address was allocated. */
  readonly network: NetworkId;
  readonly route: PortRoute;
  /** What a trusted load balancer before us said of the client (inbound PROXY header). Changes only what is reported. */
  readonly reported: { readonly address: string; readonly port: number } | undefined;
  /** Set when `tls` or `pg_tls` ended here. */
  readonly tls:
    | { readonly serverName: string | undefined; readonly alpn: string | undefined; readonly version: string }
    | undefined;
  readonly acceptedAt: Monotonic;
}

/** One piece of work that needs a Machine: a raw connection, or one HTTP request. */
export interface Work {
  readonly connection: Connection;
  /** The app to serve it: `connection.app`, unless a replay sent it elsewhere. */
  readonly app: AppName;
  readonly route: PortRoute;
  readonly kind: "connection" | "request";
  /** False: only Machines that already run (CancelRequest). Services without autostart never wake whatever this says. */
  readonly wake: boolean;
  readonly since: Monotonic;
  readonly wishes: Wishes;
  /** Machines that failed this work already. The phases add to it. */
  readonly excluded: Set<MachineId>;
  /** Aborted when the client has gone. */
  readonly signal: Departure;
  /**
   * For protocols whose servers accept connections before they can serve: asks over a fresh connection, and uses it up.
   * Without one, a Machine is ready when its port accepts.
   */
  readonly probe?: ((socket: Socket) => Promise<boolean>) | undefined;
}

/** What the client (fly-prefer-*, fly-force-*) or a replay asked for. Empty for everything else. */
export interface Wishes {
  readonly preferRegions?: readonly RegionCode[];
  readonly forceRegions?: readonly RegionCode[];
  readonly preferMachine?: MachineId;
  readonly forceMachine?: MachineId;
  /** A replay with `elsewhere`: not this one. */
  readonly notMachine?: MachineId;
}

export const NO_WISHES: Wishes = {};

/** choose → wake → connect, for whoever has work. Implemented by `proxy/reach.ts`. */
export interface Reach {
  /**
   * choose and wake: a claim on a Machine whose `endpoint` is known. Synchronous when a running Machine can take the work at once
   * (the common case); otherwise the work waits in the queue or for the wake. Refusals reject with an AppError
   * (PR01, PR03, PM02, PM03, FP04, FP05, FP06, FP10 when `signal` aborts). The caller of `claim` must release it.
   */
  claim(work: Work): Claim | Promise<Claim>;
  /**
   * connect: dials the claim's Machine; for one that has just started, as often as it takes until its port answers or the
   * wake timeout is over. The socket comes paused: listen, then resume. On failure the claim is released, the Machine joins `work.excluded`, and the error is thrown:
   * `retry` tells whether the caller may call `claim` again. The socket keeps half-open connections, has no-delay and
   * keep-alive set, is paused, and carries an idle `error` listener. Where the port has the `proxy_proto` handler the
   * PROXY header is already written, so such a socket belongs to its client and must not be pooled.
   */
  connect(work: Work, claim: Claim): Promise<Socket>;
  /** claim and connect, again with the next candidate as long as nothing was sent. */
  reach(work: Work): Promise<{ readonly claim: Claim; readonly socket: Socket }>;
  /** To be called when the first byte of a Machine's answer arrives (it closes the wake receipt). Cheap when repeated. */
  firstByte(claim: Claim): void;
}

/** How a piece of work ended, once, for log and metrics. */
export interface Settlement {
  readonly work: Work | undefined;
  /** Who and where, for what ended before there was any work. A `Connection` fits. */
  readonly subject?: Pick<Connection, "caller" | "destination"> & { readonly app?: AppName | undefined };
  readonly machine: MachineId | undefined;
  readonly error: AppError | undefined;
  readonly code: ErrorCode | undefined;
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** HTTP only. */
  readonly status: number | undefined;
}

/** Serves one accepted connection to its end. Resolves when all is settled; never rejects. */
export interface Handler {
  serve(connection: Connection, socket: Socket, already: Buffer | undefined): Promise<void>;
  /** Ends connections that only wait for more work, and the others after what they do now. Whoever calls bounds the time. */
  drain?(): Promise<void>;
  /** Closes at most so many connections to Machines that are only kept in case they are needed again. Returns how many. */
  shed?(count: number): number;
  /** Cuts everything, and stops its timers. */
  close?(): Promise<void>;
}
