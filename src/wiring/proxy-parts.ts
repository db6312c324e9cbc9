import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { PortMemory } from "../api/port-memory.ts";
import type { Closeness } from "../balancer/closeness.ts";
import type { AppName, NetworkId } from "../core/ids.ts";
import type { Port } from "../core/units.ts";
import { createHttpHandler } from "../proxy/http/handler.ts";
import { createProxy, type Proxy } from "../proxy/proxy.ts";
import { createPublisher, type Publisher } from "../proxy/published.ts";
import { loadAuthority, type Authority } from "../proxy/tls/authority.ts";
import type { Base } from "./base.ts";
import type { MachineParts } from "./machine-parts.ts";

/** What takes connections. */
export interface ProxyParts {
  readonly proxy: Proxy;
  readonly publisher: Publisher;
  /** The ports that were published, for the next start. */
  readonly memory: PortMemory;
  /** Signs certificates for `.flycast` names; made when it is first asked for. */
  readonly authority: () => Authority;
  /** What a Machine of that network dials to reach an app's port. */
  readonly dialText: (app: string, port: number, network: NetworkId) => string | undefined;
}

export async function makeProxy(
  base: Base,
  { machines, signer }: Pick<MachineParts, "machines" | "signer">,
  closeness: Closeness,
): Promise<ProxyParts> {
  const { node, workspace, standing, outside, plane, registry, clock, log, metrics, ending } = base;
  const { view } = registry;
  const authority = (): Authority => loadAuthority(join(node.stateDir, "keys"), new Date(clock.wall()));
  // Whoever asks for it wants it whatever else is logged.
  const access = process.env["FLYCAST_ACCESS_LOG"] === "1" ? log.child({}, { level: "info" }) : undefined;
  const proxy = createProxy({
    view,
    changes: registry.changes,
    pool: machines,
    plane,
    limits: node.limits,
    region: node.region,
    closeness,
    clock,
    random: Math.random,
    identify: base.whoIs,
    http: (reach, onSettled) =>
      createHttpHandler({
        reach,
        view,
        limits: () => workspace.current.node.limits,
        clock,
        random: randomBytes,
        region: node.region,
        signer,
        trace: () => workspace.current.node.trace,
        onSettled,
        ...(access === undefined ? {} : { onAccess: (line: object) => access.info(line, "request") }),
        log,
      }),
    onSettled: metrics.settled,
    log,
    trust: node.trustProxyProtocol,
    sessionIdle: node.autostop.idle,
    authority,
  });
  ending.push(() => proxy.close());

  const memory = await PortMemory.open(node.stateDir);
  const publisher = createPublisher({
    view,
    outside,
    attach: (address, port, server) => proxy.listenPublished(address, port, server),
    fixed: (app, port) => workspace.current.apps.find((candidate) => candidate.name === app)?.publish.get(port as Port),
    // In host mode the computer is a client like others, and needs no ports of its own.
    fixedOnly: standing.mode === "host",
    remembered: memory.ports,
  });
  ending.push(() => publisher.close());
  const dialText = (app: string, port: number, network: NetworkId): string | undefined => {
    if (standing.mode !== "loopback") return `${app}.flycast:${port}`;
    const published = publisher.find(app as AppName, port, network);
    return published === undefined ? undefined : `${published.host}:${published.hostPort}`;
  };
  return { proxy, publisher, memory, authority, dialText };
}
