/** The HTTP handler with one Machine that always runs, signatures and settlement counters on. For profiles; the whole system is measured by the lead script. */
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { createServer } from "node:net";
import { systemClock } from "../../src/core/clock.ts";
import type { AppName, MachineId, OrgSlug, RegionCode } from "../../src/core/ids.ts";
import { createFlySrcSigner } from "../../src/proxy/http/fly-src.ts";
import { createHttpHandler } from "../../src/proxy/http/handler.ts";
import type { RegistryView } from "../../src/registry/view.ts";
import { PLAIN_LIMITS } from "../../test/support/plain-values.ts";
import { connectionTo, httpRoute, MACHINE, StaticReach } from "../../test/support/static-reach.ts";

const [port, origin] = process.argv.slice(2).map(Number);
const settled = new Map<number | undefined, number>();
const connection = connectionTo(httpRoute({ type: "requests" }), systemClock);
const handler = createHttpHandler({
  reach: new StaticReach(() => origin ?? 0),
  view: {
    machine: () => ({ app: "caller" as AppName }),
    app: () => ({ org: "personal" as OrgSlug }),
    addressAt: () => connection,
    route: () => connection.route,
  } as unknown as RegistryView,
  limits: PLAIN_LIMITS,
  clock: systemClock,
  random: randomBytes,
  region: "iad" as RegionCode,
  signer: createFlySrcSigner(generateKeyPairSync("ed25519").privateKey, systemClock),
  onSettled: (settlement) => settled.set(settlement.status, (settled.get(settlement.status) ?? 0) + 1),
  log: console,
});
const called = {
  ...connection,
  caller: { ...connection.caller, via: "machine" as const, machine: MACHINE as MachineId },
};
createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
  void handler.serve(called, socket, undefined);
}).listen(port, "127.0.0.1");
process.on("SIGINT", () => process.exit(0)); // so that --cpu-prof writes its file
