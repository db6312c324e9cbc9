// The DNS server, built as dist/ is (by run.mjs) and wired as main.ts does it, with a thousand apps of one Machine each.
// Arguments: address to listen on, address of the upstream resolver. Prints "ready" when it listens.
import { randomBytes } from "node:crypto";
import { systemClock } from "../../src/core/clock.ts";
import { createForwarder } from "../../src/dns/forwarder.ts";
import { createDns } from "../../src/dns/server.ts";
import { directOutside } from "../../src/network/outside-direct.ts";
import { flycastAddress, machineAddress } from "../../src/network/address.ts";
import { Catalogue } from "../../src/registry/catalogue.ts";
import { identify } from "../../src/registry/identify.ts";
import { NEVER_STARTED } from "../../src/registry/model.ts";
import { createMetrics } from "../../src/telemetry/metrics.ts";
import { APPS, HOST, NETWORK } from "./names.mjs";

const [listen, upstream] = process.argv.slice(2);
const view = new Catalogue();
const createdAt = 0;
view.apply({
  kind: "organisation",
  value: { slug: "personal", name: "personal", number: 1, user: undefined, createdAt },
});
view.apply({ kind: "network", value: { id: NETWORK, org: "personal", name: "default", createdAt } });
for (let n = 1; n <= APPS; n++) {
  const name = `app${n}`;
  const id = n.toString(16).padStart(14, "0");
  view.apply({
    kind: "app",
    value: { name, number: n, org: "personal", network: NETWORK, protocol: "auto", idleSessions: "keep", createdAt },
  });
  view.apply({
    kind: "machine",
    value: {
      id,
      name: id,
      app: name,
      network: NETWORK,
      region: "iad",
      host: HOST,
      address: machineAddress(NETWORK, HOST, n),
      config: { command: [], services: [], checks: [], metadata: {}, processGroup: "app", skipDns: false },
      instance: "1",
      version: 1,
      cordoned: false,
      createdAt,
      updatedAt: createdAt,
    },
  });
  view.apply({
    kind: "address",
    value: { address: flycastAddress(NETWORK, n), app: name, network: NETWORK, createdAt },
  });
  view.setStatus(id, { ...NEVER_STARTED, state: "started" });
}

const metrics = createMetrics();
const dns = createDns({
  view,
  closeness: () => 1,
  identify: (source) => {
    const { network, region } = identify(view, "iad", source, 0);
    return network === undefined ? undefined : { network, region };
  },
  forwarder: createForwarder({
    outside: directOutside,
    upstreams: [upstream],
    forward: new Map(),
    clock: systemClock,
    random: randomBytes,
  }),
  clock: systemClock,
  random: randomBytes,
  onQuery: metrics.dnsQuery,
});
dns.attachUdp(await directOutside.bindUdp(listen, 53), "by-source");
dns.attachTcp(await directOutside.listen(listen, 53), "by-source");
console.log("ready");
