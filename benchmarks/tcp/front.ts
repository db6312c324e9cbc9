/** The proxy from accept to settle, limits and counting on, before one Machine that always runs. */
import { createServer } from "node:net";
import { createCloseness } from "../../src/balancer/closeness.ts";
import { systemClock } from "../../src/core/clock.ts";
import type { AppName, MachineId, OrgSlug } from "../../src/core/ids.ts";
import type { WallTime } from "../../src/core/units.ts";
import { flycastAddress } from "../../src/network/address.ts";
import { createLoopbackPlane } from "../../src/network/loopback.ts";
import { createProxy } from "../../src/proxy/proxy.ts";
import { Catalogue } from "../../src/registry/catalogue.ts";
import { Feed } from "../../src/registry/change-feed.ts";
import { StaticPool } from "../../test/support/static-pool.ts";
import { APP, HOME, IAD, LIMITS, machine, service, unknownCaller } from "../../test/proxy/values.ts";

const [port, origin] = process.argv.slice(2).map(Number);
const catalogue = new Catalogue();
const pool = new StaticPool(catalogue, systemClock);
const address = flycastAddress(HOME, 1);
const createdAt = 0 as WallTime;
const settled = new Map<string | undefined, number>();
catalogue.apply({
  kind: "app",
  value: {
    name: APP as AppName,
    number: 1,
    org: "personal" as OrgSlug,
    network: HOME,
    primaryRegion: IAD,
    protocol: "auto",
    idleSessions: "keep",
    tls: undefined,
    createdAt,
  },
});
catalogue.apply({ kind: "address", value: { address, app: APP, network: HOME, createdAt } });
const only = machine("00000000000001", [service()]);
catalogue.apply({ kind: "machine", value: only });
pool.add(only, { start: async () => [{ host: "127.0.0.1", port: origin ?? 0 }] });
await pool.start("00000000000001" as MachineId);

const proxy = createProxy({
  view: catalogue,
  changes: new Feed(console.error),
  pool,
  plane: createLoopbackPlane(),
  // One network has it all, so that 9,000 connections fit into 20,000 descriptors.
  limits: { ...LIMITS, perNetwork: 1 },
  region: IAD,
  closeness: createCloseness([]),
  clock: systemClock,
  random: Math.random,
  identify: unknownCaller,
  http: () => ({ serve: async () => {} }),
  onSettled: ({ code }) => settled.set(code, (settled.get(code) ?? 0) + 1),
  log: { debug() {}, info() {}, warn() {}, error: console.error },
  trust: [],
});
const server = createServer({ allowHalfOpen: true, noDelay: true });
server.listen({ port, host: "127.0.0.1", backlog: 4096 }, () => proxy.listenPublished(address, 5000, server));
process.on("SIGTERM", () => process.exit(0)); // so that --cpu-prof writes its file
