/**
 * The commands that change the catalogue. Each checks its invariants against the state at that moment, and its promise
 * resolves only after the change is durable (file store: after fsync; Redis: after the transaction). Refusals reject
 * with an AppError: `not_found`, `name_taken`, `conflict`, `invalid`, `exhausted`.
 */
import type { AppName, Ip6, MachineId, NetworkId, NetworkName, OrgSlug, RegionCode } from "../core/ids.ts";
import type {
  App,
  FlycastAddress,
  Machine,
  MachineConfig,
  MachineStatus,
  Network,
  Organisation,
  Peer,
  Token,
} from "./model.ts";
import type { ChangeFeed, RegistryView } from "./view.ts";

export interface NewApp {
  readonly name: AppName;
  readonly org: OrgSlug;
  /** Made when the organisation has no network of that name. */
  readonly network: NetworkName;
  readonly primaryRegion?: RegionCode | undefined;
  readonly protocol?: App["protocol"];
  readonly idleSessions?: App["idleSessions"];
  readonly tls?: App["tls"];
  readonly replayFrom?: App["replayFrom"];
}

export interface NewMachine {
  readonly app: AppName;
  readonly region: RegionCode;
  readonly config: MachineConfig;
  /** Default: made up, as the platform does (`word-word-number`). */
  readonly name?: string | undefined;
  readonly cordoned?: boolean | undefined;
}

export interface Commands {
  /** Makes the organisation together with its `default` network. */
  createOrganisation(input: { slug: OrgSlug; name?: string; user?: string | undefined }): Promise<Organisation>;
  /** Each field only where it is given. */
  updateOrganisation(slug: OrgSlug, change: { name?: string; user?: string | undefined }): Promise<Organisation>;
  /** A network of that name; the existing one if there is one. */
  ensureNetwork(org: OrgSlug, name: NetworkName): Promise<Network>;
  createApp(input: NewApp): Promise<App>;
  updateApp(
    name: AppName,
    change: Partial<Pick<App, "primaryRegion" | "protocol" | "idleSessions" | "tls" | "replayFrom">>,
  ): Promise<App>;
  /** With its addresses. Refused (`conflict`) while it has Machines. */
  destroyApp(name: AppName): Promise<void>;
  /** The next number of that network; numbers are not used again. */
  allocateAddress(app: AppName, network: NetworkId): Promise<FlycastAddress>;
  releaseAddress(app: AppName, address: Ip6): Promise<void>;
  createMachine(input: NewMachine): Promise<Machine>;
  /** A new `instance` and `version`, unless only metadata changed. */
  updateMachine(id: MachineId, change: { config?: MachineConfig; name?: string; cordoned?: boolean }): Promise<Machine>;
  removeMachine(id: MachineId): Promise<void>;
  createPeer(input: { name: string; network: NetworkId; region: RegionCode; publicKey: string }): Promise<Peer>;
  removePeer(network: NetworkId, name: string): Promise<void>;
  createToken(input: { name: string; org: OrgSlug | undefined; hash: string }): Promise<Token>;
  revokeToken(id: string): Promise<void>;
}

/** The whole registry of a node. */
export interface Registry {
  readonly view: RegistryView;
  readonly commands: Commands;
  readonly changes: ChangeFeed;
  /** Memory only, synchronous: called by the Machine's owner on each transition. Sends a `status` change. */
  setStatus(id: MachineId, status: MachineStatus): void;
  /** Writes what waits, then lets go of the store. */
  close(): Promise<void>;
}
