import { History } from "../api/history.ts";
import { Leases } from "../api/leases.ts";
import { apiHome } from "../api/machine-rules.ts";
import { createApi, type Api, type ApiOptions } from "../api/server.ts";
import { AppError } from "../core/errors.ts";
import { REGIONS } from "../core/regions.ts";
import { readToken } from "../registry/stores/state-folder.ts";
import type { Base } from "./base.ts";
import type { DnsParts } from "./dns-parts.ts";
import type { GatewayParts } from "./gateway-parts.ts";
import type { MachineParts } from "./machine-parts.ts";
import type { ProxyParts } from "./proxy-parts.ts";

/** The parts that the API speaks of, and what only the composition root knows. */
export interface ApiParts extends Pick<ApiOptions, "version" | "status" | "node" | "ready"> {
  readonly machines: MachineParts;
  readonly proxy: ProxyParts;
  readonly dns: DnsParts;
  readonly gateway: GatewayParts;
}

export async function makeApi(base: Base, parts: ApiParts): Promise<Api> {
  const { node, workspace, standing, plane, registry, clock, log, metrics, ending, whoIs } = base;
  const { view } = registry;
  const { driver, machines, secrets, signer, environmentOf } = parts.machines;
  const api = createApi({
    registry,
    view,
    commands: registry.commands,
    destroy: (id, how) => machines.destroy(id, how),
    deploy: (path) => workspace.deploy(path),
    machines: {
      start: (id, because) => machines.start(id, because),
      stop: async (id, how) => void (await machines.stop(id, how)),
      suspend: async (id, because) => void (await machines.suspend(id, because)),
      signal: (id, signal) => driver.signal(id, signal),
      destroy: (id, how) => machines.destroy(id, how),
      restart: async (id, how) => void (await machines.restart(id, how)),
      exec: async (machine, order) => driver.exec(machine, { ...order, env: await environmentOf(machine) }),
      processes: (id) => driver.processes(id),
    },
    clock,
    leases: new Leases(clock),
    history: new History(registry),
    secrets,
    nodeRegion: node.region,
    home: (app) => apiHome(view, node.stateDir, app),
    gateway: parts.gateway.facts,
    regions: () => REGIONS,
    version: parts.version,
    status: parts.status,
    node: parts.node,
    ca: () => parts.proxy.authority().cert,
    flySrcKey: signer.publicKey,
    why: (id) => machines.why(id),
    receipt: (id) => machines.receipt(id),
    logs: (id, how) => driver.readLog(id, how),
    logSince: (id, position, lines) => driver.logSince(id, position, lines),
    client: async (network) => {
      if (standing.mode === "loopback") {
        throw new AppError(
          "unsupported",
          "in loopback mode there is no private network to enter: use the published ports",
        );
      }
      return plane.client(network.id);
    },
    dnsFor: async (network) => (await parts.dns.ports.open(network.id)).text,
    nodeToken: await readToken(node.stateDir),
    metrics: () => metrics.text(),
    ready: parts.ready,
    networkOf: (address) => whoIs(address, 0).network,
    log,
  });
  ending.push(() => api.close());
  return api;
}
