import type { Server, Socket } from "node:net";
import type { Closeness } from "../balancer/closeness.ts";
import type { Random } from "../balancer/order.ts";
import type { Limits } from "../config/model.ts";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/errors.ts";
import type { Ip6, RegionCode } from "../core/ids.ts";
import { seconds, type Milliseconds } from "../core/units.ts";
import type { MachinePool } from "../machines/pool.ts";
import type { Caller } from "../network/caller.ts";
import { networkCidr } from "../network/address.ts";
import type { NetworkPlane } from "../network/plane.ts";
import type { ChangeFeed, RegistryView } from "../registry/view.ts";
import type { Entrance } from "./accept.ts";
import { Budget, descriptorLimit } from "./budget.ts";
import type { Handler, Reach, Settlement } from "./context.ts";
import { Crowding } from "./crowding.ts";
import { handleConnection } from "./handle-connection.ts";
import { handlersFor } from "./handlers/for-connection.ts";
import { createTrust } from "./handlers/inbound-proxy.ts";
import { Listeners } from "./listeners.ts";
import type { ConnectionPhases, Log, Phases } from "./phases.ts";
import { IdleSessions } from "./postgres/idle-sessions.ts";
import { NodeReach } from "./reach.ts";
import { settle, SettlementLog } from "./settle.ts";
import { temporaryAuthority, type Authority } from "./tls/authority.ts";
import { Certificates } from "./tls/certificates.ts";
import { Tracker, type CutConnection } from "./tracker.ts";
import { Turns } from "./turns.ts";

export interface ProxyOptions {
  readonly view: RegistryView;
  readonly changes: ChangeFeed;
  readonly pool: MachinePool;
  readonly plane: NetworkPlane;
  readonly limits: Limits;
  /** The node's own region. */
  readonly region: RegionCode;
  readonly closeness: Closeness;
  readonly clock: Clock;
  readonly random: Random;
  /** Who is behind a source address. Never asked for published ports. */
  readonly identify: (address: string, port: number) => Caller;
  /** Makes the handler of ports with `http`. `onSettled`: to be told of each request: it logs those that failed. */
  readonly http: (reach: Reach, onSettled: (settlement: Settlement) => void) => Handler;
  /** Called once for every connection (or refused one), and for every request. */
  readonly onSettled: (settlement: Settlement) => void;
  readonly log: Log;
  /** Sources (CIDR) that must send a PROXY header. */
  readonly trust: readonly string[];
  /**
   * The authority that signs certificates for `.flycast` names; asked for when the first one is needed.
   * @default one that lasts as long as the process
   */
  readonly authority?: () => Authority;
  /**
   * How long all Postgres sessions of a Machine must be idle before `idle_sessions = "end"` ends them: `[autostop] idle`.
   * @default 5 minutes
   */
  readonly sessionIdle?: Milliseconds;
  /** Descriptors that this process may have. @default RLIMIT_NOFILE */
  readonly descriptors?: number;
}

export interface Proxy {
  /** Serves a loopback port of the computer that stands for one Flycast address and port. */
  listenPublished(address: Ip6, port: number, server: Server): void;
  /** Resolves when all ports that are in use now are listened on. It also happens by itself after each change. */
  sync(): Promise<void>;
  reload(limits: Limits, sessionIdle?: Milliseconds): void;
  /** Takes no new connections, waits for the open ones, and cuts those that last longer. Says which. */
  drain(timeout: Milliseconds): Promise<readonly CutConnection[]>;
  /** Cuts everything at once. */
  close(): Promise<void>;
  /** Client connections that are open now. */
  connections(): number;
  /** For metrics: descriptors of connections in use and allowed, and work that waits. */
  usage(): { readonly open: number; readonly limit: number; readonly waiting: number };
}

const DEFAULT_SESSION_IDLE = seconds(300);

export function createProxy(options: ProxyOptions): Proxy {
  let limits = options.limits;
  let sessionIdle = options.sessionIdle ?? DEFAULT_SESSION_IDLE;
  const tracker = new Tracker();
  const settlementLog = new SettlementLog(options.log, options.clock);
  const onSettled = (handlers: Settlement): void => {
    const settlement = tracker.isCut(handlers.work?.connection.id ?? 0) ? asCut(handlers) : handlers;
    settlementLog.write(settlement);
    options.onSettled(settlement);
  };
  const budget = new Budget(
    () => limits,
    options.descriptors ?? descriptorLimit(),
    (count) => http.shed?.(count) ?? 0,
  );
  const startHandshake: Phases["startHandshake"] = (network) => budget.startHandshake(network);
  const turns = new Turns(options.clock);
  const turn: Phases["turn"] = (network) => turns.take(network);
  const phases: Phases = { ...options, onSettled, startHandshake, turn, limits: () => limits };
  const reach = new NodeReach(phases, budget);
  const certificates = new Certificates(options.authority ?? temporary(options.clock), options.clock, options.log);
  // Requests that went well are many, and have a log of their own (`FLYCAST_ACCESS_LOG`).
  const http = options.http(reach, (settlement) =>
    settlement.error === undefined ? options.onSettled(settlement) : onSettled(settlement),
  );
  const sessions = new IdleSessions(options.clock, () => sessionIdle);
  const { plane } = options;
  const crowding = new Crowding({
    clock: options.clock,
    utilization: loopUtilization(),
    hasCompany: (network) => budget.hasOthers(network),
    throttle: (network, perSecond) => plane.throttle?.(network, perSecond),
    unthrottle: (network) => plane.unthrottle?.(network),
    onThrottled: (network, perSecond) => {
      const message = `${networkCidr(network)} keeps other networks waiting with its new connections: it gets about ${perSecond} a second`;
      settle(phases, { error: new AppError("FP04", message) });
    },
    onFailure: (err) => options.log.error({ err }, "a network that crowds out others could not be throttled"),
  });
  const connectionPhases: ConnectionPhases = {
    ...phases,
    budget,
    tracker,
    crowding,
    trusts: createTrust(options.trust),
    handlerFor: handlersFor(phases, reach, http, certificates, sessions),
  };

  const serve = (socket: Socket, entrance: Entrance): void => void handleConnection(connectionPhases, socket, entrance);
  const listeners = new Listeners({ ...options, onConnection: (socket) => serve(socket, { kind: "private" }) });
  const published = new Set<Server>();
  const forgetting = options.changes.subscribe((change) => {
    if (change.kind === "machine" && change.gone) reach.forget(change.id);
  });

  async function stopListening(): Promise<void> {
    for (const server of published) server.close();
    published.clear();
    await listeners.close();
  }

  return {
    listenPublished(address, port, server) {
      published.add(server);
      server.on("close", () => published.delete(server));
      server.on("error", (err) => options.log.error({ err, port }, "a published port failed"));
      server.on("connection", (socket) => serve(socket, { kind: "published", address, port }));
    },
    sync: () => listeners.sync(),
    reload(next, idle) {
      limits = next;
      sessionIdle = idle ?? sessionIdle;
    },
    async drain(timeout) {
      await stopListening();
      // Connections that only wait for a next request end at once; those that are served end after it.
      void http.drain?.();
      return tracker.drain(options.clock, timeout);
    },
    async close() {
      forgetting();
      crowding.close();
      await stopListening();
      await http.close?.();
      await tracker.drain(options.clock, 0 as Milliseconds);
    },
    connections: () => tracker.size,
    usage: () => ({ open: budget.open, limit: budget.limit, waiting: budget.waiting }),
  };
}

/** The share of time in which the event loop did not rest, since the last call. */
function loopUtilization(): () => number {
  let last = performance.eventLoopUtilization();
  return () => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, last);
    last = now;
    return utilization;
  };
}

/** What the handler saw was our own reset. */
function asCut(settlement: Settlement): Settlement {
  const error = new AppError("FP11");
  return { ...settlement, error, code: error.code };
}

function temporary(clock: Clock): () => Authority {
  let authority: Authority | undefined;
  return () => (authority ??= temporaryAuthority(new Date(clock.wall())));
}
