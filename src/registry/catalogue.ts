import type { AppName, Ip6, MachineId, NetworkId, NetworkName, OrgSlug } from "../core/ids.ts";
import { assertNever } from "../core/result.ts";
import type { Port } from "../core/units.ts";
import { formatGroups, groupsOf } from "../network/address.ts";
import { AppRoutes } from "./app-routes.ts";
import type { CatalogueEvent } from "./events.ts";
import {
  NEVER_STARTED,
  type App,
  type FlycastAddress,
  type Machine,
  type MachineStatus,
  type Network,
  type Organisation,
  type Peer,
  type Token,
} from "./model.ts";
import type { PortRoute, RegistryChange, RegistryView } from "./view.ts";

/** The highest number that was ever given, so that none is given twice. */
export interface NetworkNumbers {
  readonly address: number;
  readonly peer: number;
}

const NO_NUMBERS: NetworkNumbers = { address: 0, peer: 0 };
const NOTHING: readonly never[] = [];

/**
 * Everything that exists, in memory, with an index for each question of `RegistryView`. Values are never changed in
 * place, so whoever holds one keeps what it was. Iterators walk the live index: don't hold one across an await.
 */
export class Catalogue implements RegistryView {
  readonly #organisations = new Map<OrgSlug, Organisation>();
  readonly #networks = new Map<NetworkId, Network>();
  readonly #networkByName = new Map<string, Network>();
  readonly #apps = new Map<AppName, App>();
  readonly #appsOn = new Map<NetworkId, Map<AppName, App>>();
  readonly #addresses = new Map<Ip6, FlycastAddress>();
  readonly #addressesOf = new Map<AppName, readonly FlycastAddress[]>();
  readonly #addressesOn = new Map<NetworkId, Map<Ip6, FlycastAddress>>();
  readonly #machines = new Map<MachineId, Machine>();
  readonly #machinesOf = new Map<AppName, readonly Machine[]>();
  readonly #machinesOn = new Map<NetworkId, Map<MachineId, Machine>>();
  readonly #machineAt = new Map<Ip6, Machine>();
  readonly #peersOn = new Map<NetworkId, Map<string, Peer>>();
  /** By the first address of the /120. */
  readonly #peerAt = new Map<Ip6, Peer>();
  readonly #tokens = new Map<string, Token>();
  readonly #statuses = new Map<MachineId, MachineStatus>();
  readonly #numbersOf = new Map<NetworkId, NetworkNumbers>();
  /** Filled when first asked, emptied when a Machine of the app changes. */
  readonly #routes = new Map<AppName, AppRoutes>();
  #lastOrganisation = 0;
  #lastApp = 0;

  organisation(slug: OrgSlug): Organisation | undefined {
    return this.#organisations.get(slug);
  }
  organisations(): Iterable<Organisation> {
    return this.#organisations.values();
  }
  network(id: NetworkId): Network | undefined {
    return this.#networks.get(id);
  }
  networkNamed(org: OrgSlug, name: NetworkName): Network | undefined {
    return this.#networkByName.get(`${org}/${name}`);
  }
  networks(): Iterable<Network> {
    return this.#networks.values();
  }
  app(name: AppName): App | undefined {
    return this.#apps.get(name);
  }
  apps(): Iterable<App> {
    return this.#apps.values();
  }
  appsOn(network: NetworkId): Iterable<App> {
    return this.#appsOn.get(network)?.values() ?? NOTHING;
  }
  addressAt(address: Ip6): FlycastAddress | undefined {
    return this.#addresses.get(address);
  }
  addressesOf(app: AppName): readonly FlycastAddress[] {
    return this.#addressesOf.get(app) ?? NOTHING;
  }
  addressesOn(network: NetworkId): Iterable<FlycastAddress> {
    return this.#addressesOn.get(network)?.values() ?? NOTHING;
  }
  machine(id: MachineId): Machine | undefined {
    return this.#machines.get(id);
  }
  machines(): Iterable<Machine> {
    return this.#machines.values();
  }
  machinesOf(app: AppName): readonly Machine[] {
    return this.#machinesOf.get(app) ?? NOTHING;
  }
  machinesOn(network: NetworkId): Iterable<Machine> {
    return this.#machinesOn.get(network)?.values() ?? NOTHING;
  }
  machineAt(address: Ip6): Machine | undefined {
    return this.#machineAt.get(address);
  }
  status(id: MachineId): MachineStatus {
    return this.#statuses.get(id) ?? NEVER_STARTED;
  }
  route(app: AppName, port: Port): PortRoute | undefined {
    return this.#routesOf(app)?.find(port);
  }
  routesOf(app: AppName): readonly PortRoute[] {
    return this.#routesOf(app)?.all ?? NOTHING;
  }
  peer(network: NetworkId, name: string): Peer | undefined {
    return this.#peersOn.get(network)?.get(name);
  }
  peersOn(network: NetworkId): Iterable<Peer> {
    return this.#peersOn.get(network)?.values() ?? NOTHING;
  }
  *peers(): Iterable<Peer> {
    for (const peers of this.#peersOn.values()) yield* peers.values();
  }
  peerAt(address: Ip6): Peer | undefined {
    return this.#peerAt.size === 0 ? undefined : this.#peerAt.get(firstOf120(address));
  }
  tokens(): Iterable<Token> {
    return this.#tokens.values();
  }

  /** The highest numbers ever given to an organisation and to an app. */
  get lastNumbers(): { readonly organisation: number; readonly app: number } {
    return { organisation: this.#lastOrganisation, app: this.#lastApp };
  }
  numbersOf(network: NetworkId): NetworkNumbers {
    return this.#numbersOf.get(network) ?? NO_NUMBERS;
  }

  /** False when there is no such Machine (any more). */
  setStatus(id: MachineId, status: MachineStatus): boolean {
    if (!this.#machines.has(id)) return false;
    this.#statuses.set(id, status);
    return true;
  }

  /** Takes an event in and says what readers should hear of it: nothing for numbers and for what changes nothing. */
  apply(event: CatalogueEvent): RegistryChange | undefined {
    switch (event.kind) {
      case "organisation":
        this.#organisations.set(event.value.slug, event.value);
        this.#lastOrganisation = Math.max(this.#lastOrganisation, event.value.number);
        return { kind: "organisation", slug: event.value.slug };
      case "network":
        this.#networks.set(event.value.id, event.value);
        this.#networkByName.set(`${event.value.org}/${event.value.name}`, event.value);
        return { kind: "network", id: event.value.id };
      case "app":
        this.#apps.set(event.value.name, event.value);
        inner(this.#appsOn, event.value.network).set(event.value.name, event.value);
        this.#lastApp = Math.max(this.#lastApp, event.value.number);
        return { kind: "app", name: event.value.name };
      case "app-gone":
        return this.#removeApp(event.name);
      case "address":
        return this.#putAddress(event.value);
      case "address-gone":
        return this.#removeAddress(event.address);
      case "machine":
        return this.#putMachine(event.value);
      case "machine-gone":
        return this.#removeMachine(event.id);
      case "peer":
        inner(this.#peersOn, event.value.network).set(event.value.name, event.value);
        this.#peerAt.set(firstOf120(event.value.address), event.value);
        return { kind: "peer", name: event.value.name, network: event.value.network, gone: false };
      case "peer-gone":
        return this.#removePeer(event.network, event.name);
      case "token":
        this.#tokens.set(event.value.id, event.value);
        return { kind: "token", id: event.value.id };
      case "token-gone":
        return this.#tokens.delete(event.id) ? { kind: "token", id: event.id } : undefined;
      case "numbers":
        this.#lastOrganisation = Math.max(this.#lastOrganisation, event.organisation);
        this.#lastApp = Math.max(this.#lastApp, event.app);
        return undefined;
      case "network-numbers": {
        const old = this.numbersOf(event.network);
        this.#numbersOf.set(event.network, {
          address: Math.max(old.address, event.address),
          peer: Math.max(old.peer, event.peer),
        });
        return undefined;
      }
      default:
        return assertNever(event);
    }
  }

  /** Events that make an equal catalogue out of an empty one. Later changes here don't show in the list. */
  toEvents(): readonly CatalogueEvent[] {
    const events: CatalogueEvent[] = [{ kind: "numbers", ...this.lastNumbers }];
    for (const value of this.#organisations.values()) events.push({ kind: "organisation", value });
    for (const value of this.#networks.values()) events.push({ kind: "network", value });
    for (const [network, numbers] of this.#numbersOf) events.push({ kind: "network-numbers", network, ...numbers });
    for (const value of this.#apps.values()) events.push({ kind: "app", value });
    for (const value of this.#addresses.values()) events.push({ kind: "address", value });
    for (const value of this.#machines.values()) events.push({ kind: "machine", value });
    for (const value of this.peers()) events.push({ kind: "peer", value });
    for (const value of this.#tokens.values()) events.push({ kind: "token", value });
    return events;
  }

  #routesOf(app: AppName): AppRoutes | undefined {
    const known = this.#routes.get(app);
    if (known !== undefined) return known;
    const machines = this.#machinesOf.get(app);
    // Names of apps that don't exist leave nothing behind: they may come from a client.
    if (machines === undefined) return undefined;
    const routes = new AppRoutes(machines);
    this.#routes.set(app, routes);
    return routes;
  }

  #removeApp(name: AppName): RegistryChange | undefined {
    const app = this.#apps.get(name);
    if (app === undefined) return undefined;
    this.#apps.delete(name);
    removeInner(this.#appsOn, app.network, name);
    return { kind: "app", name };
  }

  #putAddress(value: FlycastAddress): RegistryChange {
    this.#addresses.set(value.address, value);
    this.#addressesOf.set(
      value.app,
      replaced(this.addressesOf(value.app), value, (a) => a.address === value.address),
    );
    inner(this.#addressesOn, value.network).set(value.address, value);
    return { kind: "address", address: value.address, app: value.app, network: value.network, gone: false };
  }

  #removeAddress(address: Ip6): RegistryChange | undefined {
    const old = this.#addresses.get(address);
    if (old === undefined) return undefined;
    this.#addresses.delete(address);
    keepOrDelete(
      this.#addressesOf,
      old.app,
      this.addressesOf(old.app).filter((a) => a.address !== address),
    );
    removeInner(this.#addressesOn, old.network, address);
    return { kind: "address", address, app: old.app, network: old.network, gone: true };
  }

  #putMachine(value: Machine): RegistryChange {
    this.#machines.set(value.id, value);
    this.#machinesOf.set(
      value.app,
      replaced(this.machinesOf(value.app), value, (m) => m.id === value.id),
    );
    inner(this.#machinesOn, value.network).set(value.id, value);
    this.#machineAt.set(value.address, value);
    this.#routes.delete(value.app);
    return { kind: "machine", id: value.id, app: value.app, gone: false };
  }

  #removeMachine(id: MachineId): RegistryChange | undefined {
    const old = this.#machines.get(id);
    if (old === undefined) return undefined;
    this.#machines.delete(id);
    this.#statuses.delete(id);
    keepOrDelete(
      this.#machinesOf,
      old.app,
      this.machinesOf(old.app).filter((m) => m.id !== id),
    );
    removeInner(this.#machinesOn, old.network, id);
    this.#machineAt.delete(old.address);
    this.#routes.delete(old.app);
    return { kind: "machine", id, app: old.app, gone: true };
  }

  #removePeer(network: NetworkId, name: string): RegistryChange | undefined {
    const old = this.peer(network, name);
    if (old === undefined) return undefined;
    removeInner(this.#peersOn, network, name);
    this.#peerAt.delete(firstOf120(old.address));
    return { kind: "peer", name, network, gone: true };
  }
}

function firstOf120(address: Ip6): Ip6 {
  const g = groupsOf(address);
  return formatGroups([g[0], g[1], g[2], g[3], g[4], g[5], g[6], g[7] & 0xff00]);
}

function inner<K, L, V>(index: Map<K, Map<L, V>>, key: K): Map<L, V> {
  let map = index.get(key);
  if (map === undefined) {
    map = new Map();
    index.set(key, map);
  }
  return map;
}

function removeInner<K, L, V>(index: Map<K, Map<L, V>>, key: K, name: L): void {
  const map = index.get(key);
  if (map?.delete(name) === true && map.size === 0) index.delete(key);
}

function replaced<T>(items: readonly T[], item: T, isSame: (other: T) => boolean): readonly T[] {
  const at = items.findIndex(isSame);
  return at < 0 ? [...items, item] : items.with(at, item);
}

function keepOrDelete<K, V>(index: Map<K, readonly V[]>, key: K, items: readonly V[]): void {
  if (items.length === 0) index.delete(key);
  else index.set(key, items);
}
