import { randomBytes } from "node:crypto";
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server } from "node:net";
import { afterEach } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import type {
  AppName,
  HostId,
  Ip6,
  MachineId,
  NetworkId,
  NetworkName,
  OrgSlug,
  RegionCode,
} from "../../src/core/ids.ts";
import { ms, type WallTime } from "../../src/core/units.ts";
import { createForwarder, type Forwarder, type ForwarderOptions } from "../../src/dns/forwarder.ts";
import { createDns, type AskerPolicy, type DnsOptions, type DnsService } from "../../src/dns/server.ts";
import { flycastAddress, machineAddress, networkOf, parseIp6, peerAddress } from "../../src/network/address.ts";
import type { Outside } from "../../src/network/outside.ts";
import {
  NEVER_STARTED,
  type App,
  type FlycastAddress,
  type Machine,
  type MachineStateKind,
  type Peer,
} from "../../src/registry/model.ts";
import type { RegistryView } from "../../src/registry/view.ts";

export const HOME = 0x8000_0018 as NetworkId;
export const OTHER = 0x8000_0019 as NetworkId;
export const IAD = "iad" as RegionCode;

/** A registry that a test writes by hand. */
export class Catalogue {
  readonly apps = new Map<string, App>();
  readonly machines = new Map<string, Machine>();
  readonly states = new Map<string, MachineStateKind>();
  readonly addresses: FlycastAddress[] = [];
  readonly peers: Peer[] = [];

  app(name: string, network: NetworkId = HOME): this {
    this.apps.set(name, {
      name: name as AppName,
      number: this.apps.size + 1,
      org: "personal" as OrgSlug,
      network,
      primaryRegion: undefined,
      protocol: "auto",
      idleSessions: "keep",
      tls: undefined,
      createdAt: 0 as WallTime,
    });
    return this;
  }

  machine(
    app: string,
    id: string,
    how: {
      region?: string;
      state?: MachineStateKind;
      group?: string;
      metadata?: Record<string, string>;
      skipDns?: boolean;
    } = {},
  ): Machine {
    const network = this.apps.get(app)!.network;
    const machine: Machine = {
      id: id as MachineId,
      name: id,
      app: app as AppName,
      network,
      region: (how.region ?? "iad") as RegionCode,
      host: 0x00a7_007d as HostId,
      address: machineAddress(network, 0x00a7_007d as HostId, this.machines.size + 1),
      config: {
        command: ["true"],
        folder: "/",
        env: {},
        envFile: undefined,
        user: undefined,
        services: [],
        checks: [],
        mounts: [],
        files: [],
        metadata: how.metadata ?? {},
        processGroup: how.group ?? "app",
        stop: { signal: "SIGINT", timeout: ms(5000) },
        restart: { policy: "on-failure", maxRetries: 10 },
        guest: { cpus: undefined, memoryMb: undefined },
        skipDns: how.skipDns ?? false,
        autoDestroy: false,
        raw: undefined,
      },
      instance: "01",
      version: 1,
      cordoned: false,
      createdAt: 0 as WallTime,
      updatedAt: 0 as WallTime,
    };
    this.machines.set(id, machine);
    this.states.set(id, how.state ?? "started");
    return machine;
  }

  flycast(app: string, network: NetworkId, number: number): Ip6 {
    const address = flycastAddress(network, number);
    this.addresses.push({ address, app: app as AppName, network, createdAt: 0 as WallTime });
    return address;
  }

  peer(name: string, network: NetworkId = HOME): Ip6 {
    const address = peerAddress(network, 1, this.peers.length + 1);
    this.peers.push({
      name,
      org: "personal" as OrgSlug,
      network,
      region: IAD,
      address,
      publicKey: "",
      createdAt: 0 as WallTime,
    });
    return address;
  }

  view(): RegistryView {
    const machinesOf = (keep: (machine: Machine) => boolean): Machine[] => [...this.machines.values()].filter(keep);
    const none = (): undefined => undefined;
    const byApp = new Map<string, Machine[]>();
    let counted = -1;
    const ofApp = (name: string): readonly Machine[] => {
      if (counted !== this.machines.size) {
        byApp.clear();
        for (const m of this.machines.values()) byApp.set(m.app, [...(byApp.get(m.app) ?? []), m]);
        counted = this.machines.size;
      }
      return byApp.get(name) ?? [];
    };
    return {
      organisation: none,
      organisations: () => [],
      network: (id) => ({
        id,
        org: "personal" as OrgSlug,
        name: "default" as NetworkName,
        createdAt: 0 as WallTime,
      }),
      networkNamed: none,
      networks: () => [],
      app: (name) => this.apps.get(name),
      apps: () => this.apps.values(),
      appsOn: (network) => [...this.apps.values()].filter((app) => app.network === network),
      addressAt: (address) => this.addresses.find((entry) => entry.address === address),
      addressesOf: (app) => this.addresses.filter((entry) => entry.app === app),
      addressesOn: (network) => this.addresses.filter((entry) => entry.network === network),
      machine: (id) => this.machines.get(id),
      machines: () => this.machines.values(),
      machinesOf: ofApp,
      machinesOn: (network) => machinesOf((m) => m.network === network),
      machineAt: (address) => machinesOf((m) => m.address === address)[0],
      status: (id) => ({ ...NEVER_STARTED, state: this.states.get(id) ?? "created" }),
      route: none,
      routesOf: () => [],
      peer: (network, name) => this.peers.find((p) => p.network === network && p.name === name),
      peersOn: (network) => this.peers.filter((p) => p.network === network),
      peers: () => this.peers,
      peerAt: (address) => this.peers.find((p) => p.address === address),
      tokens: () => [],
    };
  }
}

const cleanups: (() => unknown)[] = [];
/** Runs after the test, last one first. */
export function cleanUp(action: () => unknown): void {
  cleanups.push(action);
}
afterEach(async () => {
  for (const action of cleanups.splice(0).toReversed()) await action();
});

/** The way out, opened in place. */
export const outside: Outside = {
  async listen(host, port) {
    const server = createServer({ allowHalfOpen: true });
    server.listen(port, host);
    await once(server, "listening");
    return server;
  },
  async bindUdp(host, port) {
    const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
    socket.bind(port, host);
    await once(socket, "listening");
    return socket;
  },
  async dial(host, port) {
    const socket = connect(port, host);
    await once(socket, "connect");
    return socket;
  },
};

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
    const tcp = await outside.listen(host, 0);
    const { port } = tcp.address() as AddressInfo;
    try {
      const udp = await outside.bindUdp(host, port);
      cleanUp(() => {
        udp.close();
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
    outside,
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
  catalogue: Catalogue,
  options: Partial<DnsOptions> & { host?: string; how?: AskerPolicy; forward?: Partial<ForwarderOptions> } = {},
): Promise<Running> {
  const { host, how, forward, ...rest } = options;
  const forwarder = rest.forwarder ?? forwarderOf(forward);
  const dns = createDns({
    view: catalogue.view(),
    closeness: () => 1,
    identify: (source) => {
      const address = parseIp6(source);
      const network = address.ok ? networkOf(address.value) : undefined;
      return network === undefined ? undefined : { network, region: IAD };
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
