/** The composition root: makes every part of a node, in the order in which they depend on each other, and ends them in reverse. */
import type { SystemEvent } from "./api/events.ts";
import { listenApi, removeNodeFile, urlOf, writeNodeFile } from "./api/node-file.ts";
import { RunningWorkspace } from "./api/running-workspace.ts";
import { appStatus, services, sortedApps, type AppStatus, type StatusSources } from "./api/status.ts";
import { createCloseness } from "./balancer/closeness.ts";
import type { Workspace } from "./config/model.ts";
import { systemClock } from "./core/clock.ts";
import { toAppError } from "./core/errors.ts";
import { DEFAULT_NETWORK, PERSONAL_ORG, type MachineId, type NetworkId } from "./core/ids.ts";
import { ms, type Milliseconds } from "./core/units.ts";
import { inUse } from "./machines/in-use.ts";
import { loadsOf } from "./machines/loads.ts";
import { dnsAddress, parseIp6 } from "./network/address.ts";
import { HostNetworks } from "./network/host-networks.ts";
import type { Outside } from "./network/outside.ts";
import { followChanges } from "./registry/follow-changes.ts";
import { identify } from "./registry/identify.ts";
import { openRegistry } from "./registry/open.ts";
import { createLogger } from "./telemetry/logging.ts";
import { createMetrics } from "./telemetry/metrics.ts";
import { makeApi } from "./wiring/api-parts.ts";
import type { Base } from "./wiring/base.ts";
import { makeDns } from "./wiring/dns-parts.ts";
import { Ending } from "./wiring/ending.ts";
import { makeGateway } from "./wiring/gateway-parts.ts";
import { makeMachines } from "./wiring/machine-parts.ts";
import { makeProxy, type ProxyParts } from "./wiring/proxy-parts.ts";
import { createPlane, egressOf, type Standing } from "./wiring/standing.ts";

export type { Standing };

export interface SystemOptions {
  readonly workspace: Workspace;
  readonly standing: Standing;
  readonly outside: Outside;
  readonly version: string;
  /** Text of the computer's /etc/resolv.conf: inside the lab it may be a link that leads nowhere. */
  readonly resolvConf: string;
  /** Log lines for people instead of JSON. */
  readonly prettyLog: boolean;
  readonly emit: (event: SystemEvent, apps?: readonly AppStatus[]) => void;
}

export interface System {
  /** What the files say now. All or nothing. @returns names of the apps that changed */
  apply(workspace: Workspace): Promise<readonly string[]>;
  /**
   * Ends everything; without `cut`, connections in use may finish within the drain timeout, or `within` if that is shorter.
   * Says what was cut.
   */
  shutdown(options: { readonly cut: boolean; readonly within?: Milliseconds }): Promise<readonly string[]>;
}

/** @errors state_locked, state_newer, port_taken, no_privilege, conflict: then nothing is left running */
export async function startSystem(options: SystemOptions): Promise<System> {
  const { outside, emit, standing } = options;
  const { mode } = standing;
  const workspace = new RunningWorkspace(options.workspace);
  const { node } = options.workspace;
  const clock = systemClock;
  const log = createLogger({ level: process.env["FLYCAST_LOG"] ?? "error", pretty: options.prettyLog });
  const metrics = createMetrics({ clock, region: node.region });
  const ending = new Ending((err) => log.error({ err }, "ending failed"));
  try {
    const registry = await openRegistry(node, outside, clock, (message) => {
      log.warn({ message }, "the registry");
      emit({ event: "problem", code: "state_damaged", message });
    });
    ending.push(() => registry.close());
    const { view } = registry;
    const plane = await createPlane(standing, node.stateDir);
    ending.push(() => plane.close());
    const whoIs: Base["whoIs"] = (address, port) => {
      const caller = identify(view, node.region, address, port);
      if (caller.via !== "host") return caller;
      // A client namespace has an address that only the plane knows.
      const parsed = parseIp6(address);
      const network = parsed.ok ? plane.clientNetwork(parsed.value) : undefined;
      return network === undefined ? caller : { ...caller, network };
    };
    const base: Base = {
      node,
      workspace,
      standing,
      outside,
      plane,
      registry,
      clock,
      log,
      metrics,
      emit,
      ending,
      whoIs,
    };

    const closeness = createCloseness(node.regions);
    // Machines start long after all parts are made.
    const dialText: ProxyParts["dialText"] = (...asked) => proxyParts.dialText(...asked);
    const machineParts = await makeMachines(base, dialText);
    const { machines, releases } = machineParts;
    const proxyParts = await makeProxy(base, machineParts, closeness);
    const { proxy, publisher, memory } = proxyParts;
    const dnsParts = makeDns(base, closeness, options.resolvConf);
    const { dns } = dnsParts;
    const gatewayParts = await makeGateway(base);
    const { gateway } = gatewayParts;

    const statusSources: StatusSources = {
      view,
      published: (address, port) => {
        const found = publisher.list().find((p) => p.address === address && p.port === port);
        return found === undefined ? undefined : `${found.host}:${found.hostPort}`;
      },
      claims: (machine) => machines.holders(machine as MachineId).length,
    };
    const facts = { mode, region: node.region, version: options.version, startedAt: new Date().toISOString() };
    let ready = false;
    let apiUrl = "";
    let dnsAt: readonly string[] = [];
    const api = await makeApi(base, {
      machines: machineParts,
      proxy: proxyParts,
      dns: dnsParts,
      gateway: gatewayParts,
      version: options.version,
      status: statusSources,
      node: () => ({
        ...facts,
        egress: egressOf(standing),
        wireguard: gatewayParts.status(),
        api: apiUrl,
        dns: dnsAt,
      }),
      ready: () => ready,
    });

    await plane.onServiceDoor((door) => {
      const policy = door.network === undefined ? "by-source" : { network: door.network, members: true };
      dns.attachUdp(door.dnsUdp, policy);
      dns.attachTcp(door.dnsTcp, policy);
      api.attach(door.api, "inside");
    });

    const hostNetworks = new HostNetworks(plane);
    let joined: readonly NetworkId[] = [];
    /** Follows the registry: networks get their routes, addresses their published ports. */
    const follow = async (): Promise<void> => {
      for (const network of view.networks()) await plane.addNetwork(network.id);
      await gateway?.sync();
      joined = await hostNetworks.set(
        mode !== "host"
          ? []
          : workspace.current.node.hostNetworks.flatMap(
              ({ org, network }) => view.networkNamed(org, network)?.id ?? [],
            ),
      );
      await proxy.sync();
      await publisher.sync();
      await memory.remember(publisher.list());
    };
    await machines.recover();
    ending.push(() => machines.close());
    const onFailure = (thrown: unknown): void => {
      const { code, message } = toAppError(thrown);
      emit({ event: "problem", code, message });
    };
    await workspace.begin({
      registry,
      machines,
      releases,
      follow,
      emit,
      outlive: mode === "host",
      reload: ({ limits, autostop }) => {
        proxy.reload(limits, autostop.idle);
        machines.setAutostop(autostop);
        machines.setLimits(limits);
      },
    });
    ending.push(followChanges(registry.changes, follow, onFailure));

    const apiServer = await listenApi(outside, node.api);
    api.attach(apiServer, "outside");
    apiUrl = urlOf(apiServer);
    const personal = view.networkNamed(PERSONAL_ORG, DEFAULT_NETWORK);
    const outsideDns = personal === undefined ? undefined : await dnsParts.ports.open(personal.id);
    // The computer has a way to the networks that it is in, and to nothing else of ours.
    const insideDns = { loopback: [], lab: ["[fdaa::3]:53"], host: joined.map((id) => `[${dnsAddress(id)}]:53`) }[mode];
    dnsAt = [...insideDns, ...(outsideDns === undefined ? [] : [outsideDns.text])];
    await writeNodeFile(node.stateDir, {
      api: apiUrl,
      dns: dnsAt,
      mode,
      version: options.version,
      startedAt: facts.startedAt,
    });
    ending.push(() => removeNodeFile(node.stateDir));

    await workspace.start();
    ready = true;
    emit(
      { event: "ready", mode, api: apiUrl, dns: dnsAt, services: services(statusSources) },
      sortedApps(view).map((app) => appStatus(statusSources, app)),
    );

    metrics.observe({
      view,
      connections: () => proxy.connections(),
      load: () => loadsOf(view, machines),
      denied: () => plane.refused(),
      ...(gateway === undefined ? {} : { wireguard: () => gateway.state() }),
    });
    ending.push(metrics.follow(registry));

    const cuts = new Set<string>();
    const drain = async (timeout: Milliseconds): Promise<void> => {
      for (const { app, caller, destination } of await proxy.drain(timeout)) {
        cuts.add(`connection of ${app} from ${caller.address} to ${destination}`);
      }
    };
    const shutdown = async (within: Milliseconds): Promise<readonly string[]> => {
      ready = false;
      const used = inUse(view, machines);
      if (within > 0 && used.length > 0) emit({ event: "draining", apps: used });
      await drain(ms(Math.min(within, workspace.current.node.limits.drainTimeout)));
      // In host mode Machines go on without the node, and the next one finds them.
      if (mode !== "host") await machines.shutdown({ drain: false });
      await ending.endAll();
      return [...cuts];
    };
    let shutting: Promise<readonly string[]> | undefined;
    return {
      apply: (next) => workspace.apply(next),
      async shutdown({ cut, within }) {
        if (shutting === undefined) shutting = shutdown(cut ? ms(0) : (within ?? ms(Number.MAX_SAFE_INTEGER)));
        else if (cut) await drain(ms(0));
        return shutting;
      },
    };
  } catch (thrown) {
    await ending.endAll();
    throw thrown;
  }
}
