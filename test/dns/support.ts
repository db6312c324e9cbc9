import { randomBytes } from "node:crypto";
import type { Socket as UdpSocket } from "node:dgram";
import type { AddressInfo, Server } from "node:net";
import { afterEach } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { createForwarder, type Forwarder, type ForwarderOptions } from "../../src/dns/forwarder.ts";
import { createDns, type AskerPolicy, type DnsOptions, type DnsService } from "../../src/dns/server.ts";
import { directOutside } from "../../src/network/outside-direct.ts";
import { identify } from "../../src/registry/identify.ts";
import { HOME, IAD, type Landscape } from "./landscape.ts";

const cleanups: (() => unknown)[] = [];
/** Runs after the test, last one first. */
export function cleanUp(action: () => unknown): void {
  cleanups.push(action);
}
afterEach(async () => {
  for (const action of cleanups.splice(0).toReversed()) await action();
});

export interface Running {
  readonly dns: DnsService;
  readonly port: number;
  readonly forwarder: Forwarder;
  readonly udp: UdpSocket;
  readonly tcp: Server;
}

/** UDP and TCP on one loopback port. */
export async function bindPair(host = "127.0.0.1"): Promise<{ udp: UdpSocket; tcp: Server; port: number }> {
  for (let attempt = 0; ; attempt++) {
    const tcp = await directOutside.listen(host, 0);
    const { port } = tcp.address() as AddressInfo;
    try {
      const udp = await directOutside.bindUdp(host, port);
      cleanUp(() => {
        // A test may have closed them already.
        try {
          udp.close();
        } catch {
          // ERR_SOCKET_DGRAM_NOT_RUNNING
        }
        tcp.close();
      });
      return { udp, tcp, port };
    } catch (error) {
      tcp.close();
      if (attempt === 20) throw error;
    }
  }
}

export function forwarderOf(options: Partial<ForwarderOptions> = {}): Forwarder {
  const forwarder = createForwarder({
    outside: directOutside,
    upstreams: [],
    forward: new Map(),
    clock: systemClock,
    random: randomBytes,
    ...options,
  });
  cleanUp(() => forwarder.close());
  return forwarder;
}

/** A server for HOME on a loopback port, ready to be asked. */
export async function serve(
  landscape: Landscape,
  options: Partial<DnsOptions> & { host?: string; how?: AskerPolicy; forward?: Partial<ForwarderOptions> } = {},
): Promise<Running> {
  const { host, how, forward, ...rest } = options;
  const forwarder = rest.forwarder ?? forwarderOf(forward);
  const dns = createDns({
    view: landscape.view,
    closeness: () => 1,
    identify: (source) => {
      const { network, region } = identify(landscape.view, IAD, source, 0);
      return network === undefined ? undefined : { network, region };
    },
    clock: systemClock,
    random: randomBytes,
    region: IAD,
    ...rest,
    forwarder,
  });
  const { udp, tcp, port } = await bindPair(host);
  dns.attachUdp(udp, how ?? { network: HOME });
  dns.attachTcp(tcp, how ?? { network: HOME });
  cleanUp(() => dns.close());
  return { dns, port, forwarder, udp, tcp };
}
