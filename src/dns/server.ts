import type { Socket as UdpSocket } from "node:dgram";
import type { Server } from "node:net";
import type { Clock } from "../core/clock.ts";
import type { NetworkId, RegionCode } from "../core/ids.ts";
import { seconds, type Milliseconds } from "../core/units.ts";
import type { RegistryView } from "../registry/view.ts";
import { rememberAskers } from "./asker-memory.ts";
import type { Forwarder } from "./forwarder.ts";
import type { RandomBytes } from "./random.ts";
import { createResolver, type ForwardLimits, type QuerySeen } from "./resolver.ts";
import { Shares } from "./shares.ts";
import { serveTcp } from "./tcp.ts";
import { serveUdp } from "./udp.ts";
import type { Asker, Closeness } from "./zone.ts";

/**
 * Whose names a socket answers.
 * `by-source` (`[fdaa::3]:53`): those of the network that the source belongs to; a source of no network is REFUSED.
 * A network (`[<prefix>::3]:53`, or a published loopback port): that network's. With `members`, only sources on the
 * network may ask, everybody else is REFUSED; without, whoever reaches the socket may.
 */
export type AskerPolicy =
  | "by-source"
  | {
      readonly network: NetworkId;
      readonly members?: boolean;
      /** Where a source stands that `identify` does not know. @default the node's region */
      readonly region?: RegionCode;
    };

export interface DnsLimits extends ForwardLimits {
  /** TCP connections at a time: in total, of one network, of one source address. */
  readonly tcp: { readonly total: number; readonly perNetwork: number; readonly perSource: number };
  /** A TCP connection without a question for so long is closed. */
  readonly tcpIdle: Milliseconds;
  /** And every one after so long, so that slots come round. */
  readonly tcpLifetime: Milliseconds;
}

export const DEFAULT_DNS_LIMITS: DnsLimits = {
  total: 1000,
  perNetwork: 500,
  perSource: 100,
  tcp: { total: 512, perNetwork: 256, perSource: 64 },
  tcpIdle: seconds(10),
  tcpLifetime: seconds(300),
};

export interface DnsOptions {
  readonly view: RegistryView;
  /** Round-trip time in milliseconds: smaller is closer. */
  readonly closeness: Closeness;
  /** Whose address this is, as a socket reports it without zone and `::ffff:`. Undefined: nobody's. */
  readonly identify: (sourceAddress: string) => Asker | undefined;
  readonly forwarder: Forwarder;
  readonly clock: Clock;
  readonly random: RandomBytes;
  /** The node's region, for askers whose place nobody knows. @default "dev", as `[node] region` */
  readonly region?: RegionCode;
  readonly onQuery?: (query: QuerySeen) => void;
  readonly limits?: Partial<DnsLimits>;
}

/** Stops answering on one socket and ends its connections. The socket itself stays open: it belongs to whoever made it. */
export type Detach = () => void;

/** The DNS server. It opens no port: sockets are given to it, and can be given at any time. */
export interface DnsService {
  /** A bound UDP socket, IPv4 or IPv6. */
  attachUdp(socket: UdpSocket, how: AskerPolicy): Detach;
  /** A listening server; best made with `allowHalfOpen`, so that who sends a question and FIN gets a forwarded answer. */
  attachTcp(server: Server, how: AskerPolicy): Detach;
  /** Detaches everything. The forwarder is its maker's to close. */
  close(): Promise<void>;
}

const DEFAULT_REGION = "dev" as RegionCode;

export function createDns(options: DnsOptions): DnsService {
  const limits: DnsLimits = { ...DEFAULT_DNS_LIMITS, ...options.limits };
  const resolve = createResolver({
    view: options.view,
    closeness: options.closeness,
    forwarder: options.forwarder,
    clock: options.clock,
    random: options.random,
    onQuery: options.onQuery,
    limits,
  });
  const connections = new Shares<NetworkId>(limits.tcp);
  const attached = new Set<Detach>();

  function askerOf(how: AskerPolicy, source: string): Asker | undefined {
    const known = options.identify(source);
    if (how === "by-source") return known;
    if (known?.network === how.network) return known;
    if (how.members === true) return undefined;
    return { network: how.network, region: how.region ?? options.region ?? DEFAULT_REGION };
  }

  function keep(socket: UdpSocket | Server, detach: Detach): Detach {
    const once = (): void => {
      socket.off("close", once);
      if (attached.delete(once)) detach();
    };
    attached.add(once);
    // A network that goes takes its sockets with it; nobody has to tell us as well.
    socket.on("close", once);
    return once;
  }

  return {
    attachUdp: (socket, how) =>
      keep(
        socket,
        serveUdp(socket, { resolve, askerOf: rememberAskers(options.clock, (source) => askerOf(how, source)) }),
      ),
    attachTcp: (server, how) =>
      keep(
        server,
        serveTcp(server, {
          resolve,
          askerOf: (source) => askerOf(how, source),
          clock: options.clock,
          connections,
          idle: limits.tcpIdle,
          lifetime: limits.tcpLifetime,
        }),
      ),
    close() {
      // Each takes itself out of the set, which a Set allows while it is walked.
      for (const detach of attached) detach();
      return Promise.resolve();
    },
  };
}
