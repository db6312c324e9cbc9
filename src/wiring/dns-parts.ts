import { randomBytes } from "node:crypto";
import type { Closeness } from "../balancer/closeness.ts";
import { createForwarder } from "../dns/forwarder.ts";
import { OutsidePorts } from "../dns/outside-ports.ts";
import { createDns, type DnsService } from "../dns/server.ts";
import { parseResolvConf } from "../dns/system-upstreams.ts";
import type { Base } from "./base.ts";

/** What answers for names: inside, and on ports of the computer. */
export interface DnsParts {
  readonly dns: DnsService;
  readonly ports: OutsidePorts;
}

/** `resolvConf`: text of the computer's own. */
export function makeDns(base: Base, closeness: Closeness, resolvConf: string): DnsParts {
  const { node, outside, registry, clock, metrics, ending, whoIs } = base;
  const forwarder = createForwarder({
    outside,
    upstreams: node.dns.upstreams.length > 0 ? node.dns.upstreams : parseResolvConf(resolvConf),
    forward: node.dns.forward,
    clock,
    random: randomBytes,
  });
  ending.push(() => forwarder.close());
  const dns = createDns({
    view: registry.view,
    closeness,
    identify: (address) => {
      const caller = whoIs(address, 0);
      return caller.network === undefined ? undefined : { network: caller.network, region: caller.region };
    },
    forwarder,
    clock,
    random: randomBytes,
    region: node.region,
    onQuery: metrics.dnsQuery,
  });
  ending.push(() => dns.close());
  const ports = new OutsidePorts(outside, dns);
  ending.push(() => ports.close());
  return { dns, ports };
}
