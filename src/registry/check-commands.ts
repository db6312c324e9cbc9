/** What each command does to the catalogue, or why it may not. Pure: state, command and drawn values in, events out. */
import { AppError } from "../core/errors.ts";
import {
  DEFAULT_NETWORK,
  machineIdFrom,
  type AppName,
  type HostId,
  type Ip6,
  type MachineId,
  type NetworkId,
  type NetworkName,
  type OrgSlug,
  type RegionCode,
} from "../core/ids.ts";
import { err, ok, type Result } from "../core/result.ts";
import type { WallTime } from "../core/units.ts";
import { flycastAddress, machineAddress, peerAddress } from "../network/address.ts";
import type { Catalogue } from "./catalogue.ts";
import type { NewApp, NewMachine } from "./commands.ts";
import type { CatalogueEvent } from "./events.ts";
import { canonicalConfig, runsTheSame } from "./machine-codec.ts";
import { madeUpName } from "./machine-name.ts";
import type { App, FlycastAddress, Machine, MachineConfig, Network, Organisation, Peer, Token } from "./model.ts";

/** Values that a command may need and that nobody can compute. */
export interface Draws {
  readonly now: WallTime;
  readonly host: HostId;
  random(bytes: number): Uint8Array;
  ulid(): string;
}

/** `value` is what the command answers once `events` are durable. No events: nothing changes. */
export type Decision<T> = Result<{ readonly events: readonly CatalogueEvent[]; readonly value: T }, AppError>;

// A second drawing meets the first by chance once in billions: this many in a row mean that the source is broken.
const DRAWS = 64;
const U32 = 2 ** 32 - 1;
const FIRST_NETWORK = 0x8000_0000;
const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const MACHINE_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/;
/** 32 bytes in base64: a Curve25519 key. */
const PUBLIC_KEY = /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/;
const SHA256 = /^[0-9a-f]{64}$/;
// Names for people: printable, one line.
const TITLE = /^[^\p{Cc}\p{Zl}\p{Zp}]{1,100}$/u;

export function createOrganisation(
  state: Catalogue,
  input: { readonly slug: OrgSlug; readonly name?: string; readonly user?: string | undefined },
  draws: Draws,
): Decision<Organisation> {
  if (state.organisation(input.slug) !== undefined) {
    return refuse("name_taken", `there is an organisation "${input.slug}" already`);
  }
  const name = input.name ?? input.slug;
  if (!TITLE.test(name)) return refuse("invalid", "an organisation's name has 1 to 100 printable characters");
  const network = newNetwork(state, input.slug, DEFAULT_NETWORK, draws);
  if (!network.ok) return network;
  const value: Organisation = {
    slug: input.slug,
    name,
    number: state.lastNumbers.organisation + 1,
    user: input.user,
    createdAt: draws.now,
  };
  return ok({
    events: [
      { kind: "organisation", value },
      { kind: "network", value: network.value },
    ],
    value,
  });
}

export function ensureNetwork(state: Catalogue, org: OrgSlug, name: NetworkName, draws: Draws): Decision<Network> {
  if (state.organisation(org) === undefined) return refuse("not_found", `there is no organisation "${org}"`);
  const existing = state.networkNamed(org, name);
  if (existing !== undefined) return ok({ events: [], value: existing });
  const network = newNetwork(state, org, name, draws);
  if (!network.ok) return network;
  return ok({ events: [{ kind: "network", value: network.value }], value: network.value });
}

export function createApp(state: Catalogue, input: NewApp, draws: Draws): Decision<App> {
  if (state.app(input.name) !== undefined) return refuse("name_taken", `there is an app "${input.name}" already`);
  const network = ensureNetwork(state, input.org, input.network, draws);
  if (!network.ok) return network;
  const value: App = {
    name: input.name,
    number: state.lastNumbers.app + 1,
    org: input.org,
    network: network.value.value.id,
    primaryRegion: input.primaryRegion,
    protocol: input.protocol ?? "auto",
    idleSessions: input.idleSessions ?? "keep",
    tls: input.tls,
    createdAt: draws.now,
  };
  return ok({ events: [...network.value.events, { kind: "app", value }], value });
}

export function updateApp(
  state: Catalogue,
  name: AppName,
  change: Partial<Pick<App, "primaryRegion" | "protocol" | "idleSessions" | "tls">>,
): Decision<App> {
  const old = state.app(name);
  if (old === undefined) return noApp(name);
  // Field by field: an object from outside may carry more than its type says.
  const value: App = {
    ...old,
    ...("primaryRegion" in change ? { primaryRegion: change.primaryRegion } : {}),
    ...(change.protocol === undefined ? {} : { protocol: change.protocol }),
    ...(change.idleSessions === undefined ? {} : { idleSessions: change.idleSessions }),
    ...("tls" in change ? { tls: change.tls } : {}),
  };
  return ok({ events: [{ kind: "app", value }], value });
}

export function destroyApp(state: Catalogue, name: AppName): Decision<void> {
  if (state.app(name) === undefined) return noApp(name);
  const machines = state.machinesOf(name).length;
  if (machines > 0)
    return refuse("conflict", `app "${name}" still has ${machines} Machine${machines === 1 ? "" : "s"}`);
  const events: CatalogueEvent[] = state
    .addressesOf(name)
    .map(({ address }) => ({ kind: "address-gone", address }) as const);
  return ok({ events: [...events, { kind: "app-gone", name }], value: undefined });
}

export function allocateAddress(
  state: Catalogue,
  app: AppName,
  network: NetworkId,
  draws: Draws,
): Decision<FlycastAddress> {
  if (state.app(app) === undefined) return noApp(app);
  if (state.network(network) === undefined) return noNetwork(network);
  const numbers = state.numbersOf(network);
  const number = numbers.address + 1;
  if (number > U32) return refuse("exhausted", "the network has no Flycast addresses left");
  const value: FlycastAddress = { address: flycastAddress(network, number), app, network, createdAt: draws.now };
  return ok({
    events: [
      { kind: "network-numbers", network, ...numbers, address: number },
      { kind: "address", value },
    ],
    value,
  });
}

export function releaseAddress(state: Catalogue, app: AppName, address: Ip6): Decision<void> {
  if (state.app(app) === undefined) return noApp(app);
  if (state.addressAt(address)?.app !== app) return refuse("not_found", `app "${app}" has no address ${address}`);
  return ok({ events: [{ kind: "address-gone", address }], value: undefined });
}

export function createMachine(state: Catalogue, input: NewMachine, draws: Draws): Decision<Machine> {
  const app = state.app(input.app);
  if (app === undefined) return noApp(input.app);
  const config = checkConfig(input.config);
  if (!config.ok) return config;
  const name = input.name === undefined ? freeMachineName(state, input.app, draws) : ok(input.name);
  if (!name.ok) return name;
  const problem = machineNameProblem(state, input.app, name.value, undefined);
  if (problem !== undefined) return err(problem);
  const id = draw(
    () => machineIdFrom(draws.random(7)),
    (candidate) => state.machine(candidate) === undefined,
  );
  const address = draw(
    () => {
      const part = readU32(draws.random(4));
      // 0:a in groups 6 and 7 is how a peer's address looks.
      return part === 0x0000_000a ? undefined : machineAddress(app.network, draws.host, part);
    },
    (candidate) => state.machineAt(candidate) === undefined,
  );
  if (id === undefined || address === undefined) return refuse("exhausted", "no free Machine id or address was found");
  const value: Machine = {
    id,
    name: name.value,
    app: input.app,
    network: app.network,
    region: input.region,
    host: draws.host,
    address,
    config: config.value,
    instance: draws.ulid(),
    version: 1,
    cordoned: input.cordoned ?? false,
    createdAt: draws.now,
    updatedAt: draws.now,
  };
  return ok({ events: [{ kind: "machine", value }], value });
}

export function updateMachine(
  state: Catalogue,
  id: MachineId,
  change: { readonly config?: MachineConfig; readonly name?: string; readonly cordoned?: boolean },
  draws: Draws,
): Decision<Machine> {
  const old = state.machine(id);
  if (old === undefined) return noMachine(id);
  const config = change.config === undefined ? ok(old.config) : checkConfig(change.config);
  if (!config.ok) return config;
  if (change.name !== undefined) {
    const problem = machineNameProblem(state, old.app, change.name, id);
    if (problem !== undefined) return err(problem);
  }
  const newVersion = !runsTheSame(old.config, config.value);
  const value: Machine = {
    ...old,
    name: change.name ?? old.name,
    config: config.value,
    instance: newVersion ? draws.ulid() : old.instance,
    version: newVersion ? old.version + 1 : old.version,
    cordoned: change.cordoned ?? old.cordoned,
    updatedAt: draws.now,
  };
  return ok({ events: [{ kind: "machine", value }], value });
}

export function removeMachine(state: Catalogue, id: MachineId): Decision<void> {
  if (state.machine(id) === undefined) return noMachine(id);
  return ok({ events: [{ kind: "machine-gone", id }], value: undefined });
}

export function createPeer(
  state: Catalogue,
  input: {
    readonly name: string;
    readonly network: NetworkId;
    readonly region: RegionCode;
    readonly publicKey: string;
  },
  draws: Draws,
): Decision<Peer> {
  const network = state.network(input.network);
  if (network === undefined) return noNetwork(input.network);
  if (!LABEL.test(input.name)) {
    return refuse("invalid", "a peer's name is a DNS label: lower-case letters, digits and dashes, at most 63");
  }
  if (!PUBLIC_KEY.test(input.publicKey)) return refuse("invalid", "the public key is not 32 bytes in base64");
  if (state.peer(input.network, input.name) !== undefined) {
    return refuse("name_taken", `there is a peer "${input.name}" on that network already`);
  }
  const numbers = state.numbersOf(input.network);
  const number = numbers.peer + 1;
  // 256 peers behind each of 65,536 gateways.
  if (number > 0xff_ffff) return refuse("exhausted", "the network has no peer addresses left");
  const value: Peer = {
    name: input.name,
    org: network.org,
    network: input.network,
    region: input.region,
    address: peerAddress(input.network, number >>> 8, number & 0xff),
    publicKey: input.publicKey,
    createdAt: draws.now,
  };
  return ok({
    events: [
      { kind: "network-numbers", network: input.network, ...numbers, peer: number },
      { kind: "peer", value },
    ],
    value,
  });
}

export function removePeer(state: Catalogue, network: NetworkId, name: string): Decision<void> {
  if (state.peer(network, name) === undefined) return refuse("not_found", `there is no peer "${name}" on that network`);
  return ok({ events: [{ kind: "peer-gone", network, name }], value: undefined });
}

export function createToken(
  state: Catalogue,
  input: { readonly name: string; readonly org: OrgSlug | undefined; readonly hash: string },
  draws: Draws,
): Decision<Token> {
  if (input.org !== undefined && state.organisation(input.org) === undefined) {
    return refuse("not_found", `there is no organisation "${input.org}"`);
  }
  if (!TITLE.test(input.name)) return refuse("invalid", "a token's name has 1 to 100 printable characters");
  if (!SHA256.test(input.hash)) return refuse("invalid", "a token's hash is 64 hex digits");
  const value: Token = {
    id: draws.ulid(),
    name: input.name,
    org: input.org,
    hash: input.hash,
    createdAt: draws.now,
  };
  return ok({ events: [{ kind: "token", value }], value });
}

export function revokeToken(state: Catalogue, id: string): Decision<void> {
  for (const token of state.tokens()) {
    if (token.id === id) return ok({ events: [{ kind: "token-gone", id }], value: undefined });
  }
  return refuse("not_found", "there is no such token");
}

function newNetwork(state: Catalogue, org: OrgSlug, name: NetworkName, draws: Draws): Result<Network, AppError> {
  // Networks are never removed, so what is not there was never given.
  const id = draw(
    () => (FIRST_NETWORK + (readU32(draws.random(4)) % FIRST_NETWORK)) as NetworkId,
    (candidate) => state.network(candidate) === undefined,
  );
  if (id === undefined) return refuse("exhausted", "no free network id was found");
  return ok({ id, org, name, createdAt: draws.now });
}

function checkConfig(config: MachineConfig): Result<MachineConfig, AppError> {
  try {
    return ok(canonicalConfig(config));
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    return err(new AppError("invalid", `the Machine's config is not valid: ${why}`, { cause }));
  }
}

function machineNameProblem(
  state: Catalogue,
  app: AppName,
  name: string,
  except: MachineId | undefined,
): AppError | undefined {
  if (!MACHINE_NAME.test(name)) {
    return new AppError("invalid", "a Machine's name has letters, digits, dashes, dots and underscores, at most 63");
  }
  const other = state.machinesOf(app).find((machine) => machine.name === name && machine.id !== except);
  return other && new AppError("name_taken", `app "${app}" has a Machine "${name}" already: ${other.id}`);
}

function freeMachineName(state: Catalogue, app: AppName, draws: Draws): Result<string, AppError> {
  const taken = new Set(state.machinesOf(app).map((machine) => machine.name));
  const name = draw(
    () => madeUpName(draws.random(4)),
    (candidate) => !taken.has(candidate),
  );
  return name === undefined ? refuse("exhausted", "no free name for the Machine was found") : ok(name);
}

function draw<T>(from: () => T | undefined, isFree: (candidate: T) => boolean): T | undefined {
  for (let i = 0; i < DRAWS; i++) {
    const candidate = from();
    if (candidate !== undefined && isFree(candidate)) return candidate;
  }
  return undefined;
}

function readU32(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(0);
}

function refuse(code: "not_found" | "name_taken" | "conflict" | "invalid" | "exhausted", message: string) {
  return err(new AppError(code, message));
}
function noApp(name: AppName) {
  return refuse("not_found", `there is no app "${name}"`);
}
function noNetwork(id: NetworkId) {
  return refuse("not_found", `there is no network ${id.toString(16).padStart(8, "0")}`);
}
function noMachine(id: MachineId) {
  return refuse("not_found", `there is no Machine ${id}`);
}
