/** The composition root: makes every part of a node, in the order in which they depend on each other, and ends them in reverse. */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { eventOf } from "./api/event-of.ts";
import type { SystemEvent } from "./api/events.ts";
import { flySrcKey } from "./api/fly-src-key.ts";
import { History } from "./api/history.ts";
import { Leases } from "./api/leases.ts";
import { apiHome } from "./api/machine-rules.ts";
import { listenApi, removeNodeFile, urlOf, writeNodeFile } from "./api/node-file.ts";
import { PortMemory } from "./api/port-memory.ts";
import { Secrets } from "./api/secrets.ts";
import type { GatewayFacts } from "./api/routes-wireguard.ts";
import { RunningWorkspace } from "./api/running-workspace.ts";
import { createApi } from "./api/server.ts";
import { appStatus, services, sortedApps, type AppStatus, type NodeWays, type StatusSources } from "./api/status.ts";
import { createCloseness } from "./balancer/closeness.ts";
import type { Workspace } from "./config/model.ts";
import { expandReferences } from "./config/references.ts";
import { systemClock } from "./core/clock.ts";
import { AppError, toAppError } from "./core/errors.ts";
import { DEFAULT_NETWORK, PERSONAL_ORG, type AppName, type MachineId, type NetworkId } from "./core/ids.ts";
import { REGIONS } from "./core/regions.ts";
import { ms, type Milliseconds, type Port } from "./core/units.ts";
import { createForwarder } from "./dns/forwarder.ts";
import { OutsidePorts } from "./dns/outside-ports.ts";
import { createDns } from "./dns/server.ts";
import { parseResolvConf } from "./dns/system-upstreams.ts";
import { createProcessDriver } from "./machines/drivers/process.ts";
import { StateFiles } from "./machines/drivers/state-files.ts";
import { readEnvFile } from "./machines/env-file.ts";
import { machineEnvironment } from "./machines/environment.ts";
import { inUse } from "./machines/in-use.ts";
import { loadsOf } from "./machines/loads.ts";
import { Releases } from "./machines/release.ts";
import { createMachines } from "./machines/supervisors.ts";
import { dnsAddress, parseIp6 } from "./network/address.ts";
import { HostNetworks } from "./network/host-networks.ts";
import { createLoopbackPlane } from "./network/loopback.ts";
import type { ComputerSide } from "./network/linux/core-side.ts";
import { createLinuxPlane } from "./network/linux/plane.ts";
import type { OuterFacts } from "./network/linux/wire.ts";
import type { Outside } from "./network/outside.ts";
import type { NetworkPlane } from "./network/plane.ts";
import { removeDevice } from "./network/wireguard/device.ts";
import { openGateway } from "./network/wireguard/gateway.ts";
import { createFlySrcSigner } from "./proxy/http/fly-src.ts";
import { createHttpHandler } from "./proxy/http/handler.ts";
import { createProxy } from "./proxy/proxy.ts";
import { loadAuthority, type Authority } from "./proxy/tls/authority.ts";
import { createPublisher } from "./proxy/published.ts";
import { identify } from "./registry/identify.ts";
import type { Machine } from "./registry/model.ts";
import { followChanges } from "./registry/follow-changes.ts";
import { openRegistry } from "./registry/open.ts";
import { readToken } from "./registry/stores/state-folder.ts";
import { createLogger } from "./telemetry/logging.ts";
import { createMetrics } from "./telemetry/metrics.ts";

/** Where the node stands: a lab of its own, or the computer as it is. */
export type Standing =
  | { readonly mode: "loopback" }
  | {
      readonly mode: "lab" | "host";
      readonly outer: OuterFacts;
      readonly computer: ComputerSide;
      readonly nftables: boolean;
    };

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

const NO_GATEWAY_IN_LOOPBACK = "in loopback mode there is no private network that WireGuard clients could join";

/** @errors state_locked, state_newer, port_taken, no_privilege, conflict: then nothing is left running */
export async function startSystem(options: SystemOptions): Promise<System> {
  const { outside, emit, standing } = options;
  const { mode } = standing;
  const workspace = new RunningWorkspace(options.workspace);
  const { node } = options.workspace;
  const clock = systemClock;
  const ending: (() => Promise<unknown> | void)[] = [];
  const endAll = async (): Promise<void> => {
    for (const end of ending.toReversed())
      await Promise.resolve(end()).catch((err: unknown) => log.error({ err }, "ending failed"));
  };

  const log = createLogger({ level: process.env["FLYCAST_LOG"] ?? "error", pretty: options.prettyLog });
  const metrics = createMetrics({ clock, region: node.region });
  try {
    const registry = await openRegistry(node, outside, clock, (message) => {
      log.warn({ message }, "the registry");
      emit({ event: "problem", code: "state_damaged", message });
    });
    ending.push(() => registry.close());
    const { view } = registry;
    const nodeToken = await readToken(node.stateDir);
    const whoIs = (address: string, port: number) => {
      const caller = identify(view, node.region, address, port);
      if (caller.via !== "host") return caller;
      // A client namespace has an address that only the plane knows.
      const parsed = parseIp6(address);
      const network = parsed.ok ? plane.clientNetwork(parsed.value) : undefined;
      return network === undefined ? caller : { ...caller, network };
    };

    const plane: NetworkPlane =
      standing.mode === "loopback"
        ? createLoopbackPlane()
        : await createLinuxPlane({
            mode: standing.mode,
            stateDir: node.stateDir,
            outer: standing.outer,
            computer: standing.computer,
            nftables: standing.nftables,
          });
    ending.push(() => plane.close());

    const signer = createFlySrcSigner(await flySrcKey(node.stateDir), clock);
    const driver = await createProcessDriver({
      plane,
      stateDir: node.stateDir,
      clock,
      files: mode === "loopback" ? [] : [{ path: "/.fly/fly-src.pub", content: signer.publicKey }],
      outlive: mode === "host",
      log,
      onNotice: (app, message) => emit({ event: "problem", app, code: "unsupported", message }),
    });
    ending.push(() => driver.close());

    const secrets = new Secrets(node.stateDir, clock);
    const environmentOf = async (machine: Machine): Promise<Record<string, string>> =>
      machineEnvironment({
        machine,
        app: view.app(machine.app) ?? { primaryRegion: undefined },
        host: process.env,
        secrets: { ...(await secrets.values(machine.app)), ...(await readEnvFile(machine.config.envFile)) },
        resolve: (value) =>
          expandReferences({ value }, (app, port) => dialText(app, port, machine.network))["value"] ?? value,
      });
    const releases = new Releases({ driver, random: randomBytes, environment: environmentOf, log });
    const lastStates = new StateFiles(node.stateDir, clock);
    ending.push(() => lastStates.close());
    const machines = createMachines({
      registry,
      memory: lastStates,
      driver,
      clock,
      random: Math.random,
      limits: node.limits,
      autostop: node.autostop,
      owns: (machine) => machine.host === registry.host,
      environment: async (machine) => {
        await releases.passed(machine.app);
        return environmentOf(machine);
      },
      onEvent: (event) => {
        metrics.machineEvent(event);
        emit(eventOf(event));
      },
      log,
    });

    const closeness = createCloseness(node.regions);
    const authority = (): Authority => loadAuthority(join(node.stateDir, "keys"), new Date(clock.wall()));
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
      identify: whoIs,
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
          ...(process.env["FLYCAST_ACCESS_LOG"] === "1"
            ? { onAccess: (line: object) => log.info(line, "request") }
            : {}),
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
      fixed: (app, port) =>
        workspace.current.apps.find((candidate) => candidate.name === app)?.publish.get(port as Port),
      // In host mode the computer is a client like others, and needs no ports of its own.
      fixedOnly: mode === "host",
      remembered: memory.ports,
    });
    ending.push(() => publisher.close());
    const dialText = (app: string, port: number, network: NetworkId): string | undefined => {
      if (mode !== "loopback") return `${app}.flycast:${port}`;
      const published = publisher.find(app as AppName, port, network);
      return published === undefined ? undefined : `${published.host}:${published.hostPort}`;
    };

    const forwarder = createForwarder({
      outside,
      upstreams: node.dns.upstreams.length > 0 ? node.dns.upstreams : parseResolvConf(options.resolvConf),
      forward: node.dns.forward,
      clock,
      random: randomBytes,
    });
    ending.push(() => forwarder.close());
    const dns = createDns({
      view,
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
    const dnsPorts = new OutsidePorts(outside, dns);
    ending.push(() => dnsPorts.close());

    const { wireguard } = node;
    const gateway =
      wireguard === undefined || standing.mode === "loopback"
        ? undefined
        : await openGateway({
            outside,
            listen: wireguard,
            stateDir: node.stateDir,
            nftables: standing.nftables,
            peers: () => view.peers(),
            clock,
            onProblem: ({ code, message }) => emit({ event: "problem", code, message }),
          });
    ending.push(() => gateway?.close());
    // An earlier life of the node, killed, may have had one.
    if (gateway === undefined && mode === "host") await removeDevice();
    if (wireguard !== undefined && mode === "loopback") {
      emit({ event: "problem", code: "unsupported", message: NO_GATEWAY_IN_LOOPBACK });
    }
    const ways = (): NodeWays => ({
      egress: egressOf(standing),
      wireguard:
        gateway === undefined || wireguard === undefined
          ? undefined
          : { host: wireguard.host, port: gateway.port, ...gateway.state() },
    });
    const gatewayFacts = (): GatewayFacts => {
      if (gateway === undefined || wireguard === undefined) {
        throw new AppError(
          "unsupported",
          mode === "loopback"
            ? NO_GATEWAY_IN_LOOPBACK
            : 'this node lets no WireGuard clients in: write wireguard = "127.0.0.1:51820" under [node] in flycast.toml',
        );
      }
      const { publicKey, port } = gateway;
      return { host: wireguard.endpoint, port, publicKey, sync: () => gateway.sync() };
    };

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
      gateway: gatewayFacts,
      regions: () => REGIONS,
      version: options.version,
      status: statusSources,
      node: () => ({ ...facts, ...ways(), api: apiUrl, dns: dnsAt }),
      ca: () => authority().cert,
      flySrcKey: signer.publicKey,
      why: (id) => machines.why(id),
      receipt: (id) => machines.receipt(id),
      logs: (id, how) => driver.readLog(id, how),
      logSince: (id, position, lines) => driver.logSince(id, position, lines),
      client: async (network) => {
        if (mode === "loopback") {
          throw new AppError(
            "unsupported",
            "in loopback mode there is no private network to enter: use the published ports",
          );
        }
        return plane.client(network.id);
      },
      dnsFor: async (network) => (await dnsPorts.open(network.id)).text,
      nodeToken,
      metrics: () => metrics.text(),
      ready: () => ready,
      networkOf: (address) => whoIs(address, 0).network,
      log,
    });
    ending.push(() => api.close());

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
    const outsideDns = personal === undefined ? undefined : await dnsPorts.open(personal.id);
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
      await endAll();
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
    await endAll();
    throw thrown;
  }
}

function egressOf(standing: Standing): NodeWays["egress"] {
  if (standing.mode === "loopback") return { by: "computer" };
  const { exit } = standing.outer;
  if (exit.open) return { by: exit.by };
  return { by: "none", because: standing.nftables ? (exit.because ?? 'egress = "none"') : "that needs nftables" };
}
