import { publicState, type App, type CheckStatus } from "../registry/model.ts";
import type { RegistryView } from "../registry/view.ts";
import type { ReadyService } from "./events.ts";

/** What a node has at its borders. `flycast doctor` shows it. */
export interface NodeWays {
  /** How Machines reach the Internet: in loopback mode as the computer does. `because`: why they do not. */
  readonly egress: { readonly by: "computer" | "veth" | "pasta" | "slirp4netns" | "none"; readonly because?: string };
  /**
   * Where WireGuard clients are let in, who carries their tunnels (undefined while nobody does), and how many may connect.
   * Undefined: nowhere.
   */
  readonly wireguard:
    | { readonly host: string; readonly port: number; readonly by: string | undefined; readonly tunnels: number }
    | undefined;
}

/** What `flycast status` shows. */
export interface NodeStatus extends NodeWays {
  readonly mode: string;
  readonly region: string;
  readonly version: string;
  readonly api: string;
  readonly dns: readonly string[];
  readonly startedAt: string;
  readonly apps: readonly AppStatus[];
}

export interface AppStatus {
  readonly name: string;
  readonly org: string;
  readonly network: string;
  readonly services: readonly ReadyService[];
  readonly machines: readonly MachineRow[];
}

export interface MachineRow {
  readonly id: string;
  readonly name: string;
  readonly processGroup: string;
  readonly region: string;
  /** The platform's name of the state. */
  readonly state: string;
  readonly because: string;
  readonly since: string;
  readonly version: number;
  readonly address: string;
  readonly cordoned: boolean;
  readonly pid: number | undefined;
  readonly checks: readonly CheckStatus[];
  readonly inUse: number;
}

export interface StatusSources {
  readonly view: RegistryView;
  /** Where an address and port are published on this computer, as `host:port`. */
  readonly published: (address: string, port: number) => string | undefined;
  readonly claims: (machine: string) => number;
}

/** Every address and port of every app, in order of the apps' names. */
export function services(sources: StatusSources): readonly ReadyService[] {
  return sortedApps(sources.view).flatMap((app) => servicesOfApp(sources, app));
}

export function servicesOfApp(sources: StatusSources, app: App): readonly ReadyService[] {
  const { view } = sources;
  return view.addressesOf(app.name).flatMap((address) =>
    view.routesOf(app.name).map(({ port }) => {
      const published = sources.published(address.address, port.start);
      const network = view.network(address.network);
      return {
        app: app.name,
        org: network?.org ?? app.org,
        network: network?.name ?? "default",
        address: address.address,
        port: port.start,
        ...(port.end === port.start ? {} : { endPort: port.end }),
        handlers: [...port.handlers].toSorted(),
        ...(published === undefined ? {} : { published }),
      };
    }),
  );
}

export function appStatus(sources: StatusSources, app: App): AppStatus {
  const { view } = sources;
  return {
    name: app.name,
    org: app.org,
    network: view.network(app.network)?.name ?? "default",
    services: servicesOfApp(sources, app),
    machines: view.machinesOf(app.name).map((machine) => {
      const status = view.status(machine.id);
      return {
        id: machine.id,
        name: machine.name,
        processGroup: machine.config.processGroup,
        region: machine.region,
        state: publicState(status.state),
        because: status.because,
        since: new Date(status.since === 0 ? machine.createdAt : status.since).toISOString(),
        version: machine.version,
        address: machine.address,
        cordoned: machine.cordoned,
        pid: status.pid,
        checks: status.checks,
        inUse: sources.claims(machine.id),
      };
    }),
  };
}

export function sortedApps(view: RegistryView): readonly App[] {
  return [...view.apps()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
}
