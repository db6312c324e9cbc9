/**
 * The one read-only face of the registry: an index for each question that a reader on the path of a request asks.
 * Every method answers from memory, at once. Looking never changes anything, and never keeps a Machine awake.
 */
import type { AppName, Ip6, MachineId, NetworkId, NetworkName, OrgSlug } from "../core/ids.ts";
import type { Port } from "../core/units.ts";
import type { Service, ServicePort } from "../config/model.ts";
import type { App, FlycastAddress, Machine, MachineStatus, Network, Organisation, Peer, Token } from "./model.ts";

/** What an external port of an app leads to. Machines whose services do not list the port are no candidates for it. */
export interface PortRoute {
  readonly service: Service;
  readonly port: ServicePort;
}

export interface RegistryView {
  organisation(slug: OrgSlug): Organisation | undefined;
  organisations(): Iterable<Organisation>;
  network(id: NetworkId): Network | undefined;
  networkNamed(org: OrgSlug, name: NetworkName): Network | undefined;
  networks(): Iterable<Network>;
  app(name: AppName): App | undefined;
  apps(): Iterable<App>;
  appsOn(network: NetworkId): Iterable<App>;
  /** The owner of a Flycast address. */
  addressAt(address: Ip6): FlycastAddress | undefined;
  addressesOf(app: AppName): readonly FlycastAddress[];
  addressesOn(network: NetworkId): Iterable<FlycastAddress>;
  machine(id: MachineId): Machine | undefined;
  machines(): Iterable<Machine>;
  machinesOf(app: AppName): readonly Machine[];
  machinesOn(network: NetworkId): Iterable<Machine>;
  /** The Machine whose own 6PN address this is. */
  machineAt(address: Ip6): Machine | undefined;
  status(id: MachineId): MachineStatus;
  /** The service behind an external port of an app, from the newest Machine that lists it. */
  route(app: AppName, port: Port): PortRoute | undefined;
  /** Every external port (or range) of an app, once each, sorted. */
  routesOf(app: AppName): readonly PortRoute[];
  peer(network: NetworkId, name: string): Peer | undefined;
  peersOn(network: NetworkId): Iterable<Peer>;
  peers(): Iterable<Peer>;
  /** The peer whose /120 holds this address. */
  peerAt(address: Ip6): Peer | undefined;
  tokens(): Iterable<Token>;
}

/** What changed. Sent after the change can be read from the view. `status` is running state; all else is durable. */
export type RegistryChange =
  | { readonly kind: "organisation"; readonly slug: OrgSlug }
  | { readonly kind: "network"; readonly id: NetworkId }
  | { readonly kind: "app"; readonly name: AppName }
  | {
      readonly kind: "address";
      readonly address: Ip6;
      readonly app: AppName;
      readonly network: NetworkId;
      readonly gone: boolean;
    }
  | { readonly kind: "machine"; readonly id: MachineId; readonly app: AppName; readonly gone: boolean }
  | { readonly kind: "status"; readonly id: MachineId; readonly app: AppName; readonly status: MachineStatus }
  | { readonly kind: "peer"; readonly name: string; readonly network: NetworkId; readonly gone: boolean }
  | { readonly kind: "token"; readonly id: string };

/** Calls back synchronously, in order of the changes. A listener that throws is logged, and hurts nobody else. */
export type Unsubscribe = () => void;
export interface ChangeFeed {
  subscribe(listener: (change: RegistryChange) => void): Unsubscribe;
}
