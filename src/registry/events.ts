/**
 * What the journal, the snapshot and the Redis stream are made of. Every event sets a thing to a value or removes it, so
 * that applying one twice does no harm. Handed-out numbers travel with the events, so that they survive removals.
 */
import { parseAppName, parseMachineId, parseNetworkName, parseOrgSlug, parseRegionCode } from "../core/ids.ts";
import type { AppName, HostId, Ip6, MachineId, NetworkId } from "../core/ids.ts";
import type { WallTime } from "../core/units.ts";
import { parseIp6 } from "../network/address.ts";
import {
  branded,
  DecodeError,
  flag,
  list,
  number,
  object,
  oneOf,
  optional,
  parsed,
  text,
  whole,
  type Decoder,
} from "./decode.ts";
import { machineConfig, toJson } from "./machine-codec.ts";
import type { App, FlycastAddress, Machine, Network, Organisation, Peer, Token } from "./model.ts";

export type CatalogueEvent =
  | { readonly kind: "organisation"; readonly value: Organisation }
  | { readonly kind: "network"; readonly value: Network }
  | { readonly kind: "app"; readonly value: App }
  | { readonly kind: "app-gone"; readonly name: AppName }
  | { readonly kind: "address"; readonly value: FlycastAddress }
  | { readonly kind: "address-gone"; readonly address: Ip6 }
  | { readonly kind: "machine"; readonly value: Machine }
  | { readonly kind: "machine-gone"; readonly id: MachineId }
  | { readonly kind: "peer"; readonly value: Peer }
  | { readonly kind: "peer-gone"; readonly network: NetworkId; readonly name: string }
  | { readonly kind: "token"; readonly value: Token }
  | { readonly kind: "token-gone"; readonly id: string }
  /** The highest numbers ever given: to organisations and to apps. */
  | { readonly kind: "numbers"; readonly organisation: number; readonly app: number }
  /** The highest numbers ever given on a network: to Flycast addresses and to peers. */
  | { readonly kind: "network-numbers"; readonly network: NetworkId; readonly address: number; readonly peer: number };

const U32 = 2 ** 32 - 1;
const time = branded<WallTime>(number);
const counter = whole(0, Number.MAX_SAFE_INTEGER);
const appName = parsed(parseAppName, "an app's name");
const orgSlug = parsed(parseOrgSlug, "an organisation's slug");
const machineId = parsed(parseMachineId, "a Machine id");
const region = parsed(parseRegionCode, "a region");
const address = parsed(parseIp6, "an IPv6 address in its shortest form");
const networkId = branded<NetworkId>(whole(1, U32));
const hostId = branded<HostId>(whole(0, U32));

const organisation = object<Organisation>({
  slug: orgSlug,
  name: text,
  number: counter,
  user: optional(text),
  createdAt: time,
});
const networkName = parsed(parseNetworkName, "a network's name");
const network = object<Network>({
  id: networkId,
  org: orgSlug,
  name: networkName,
  createdAt: time,
});
const app = object<App>({
  name: appName,
  number: counter,
  org: orgSlug,
  network: networkId,
  primaryRegion: optional(region),
  protocol: oneOf("auto", "tcp", "postgres"),
  idleSessions: oneOf("keep", "end"),
  tls: optional(object<NonNullable<App["tls"]>>({ cert: text, key: text })),
  replayFrom: optional(list(object<NonNullable<App["replayFrom"]>[number]>({ org: orgSlug, network: networkName }))),
  createdAt: time,
});
const flycastAddress = object<FlycastAddress>({ address, app: appName, network: networkId, createdAt: time });
const machine = object<Machine>({
  id: machineId,
  name: text,
  app: appName,
  network: networkId,
  region,
  host: hostId,
  address,
  config: machineConfig,
  instance: text,
  version: counter,
  cordoned: flag,
  createdAt: time,
  updatedAt: time,
});
const peer = object<Peer>({
  name: text,
  org: orgSlug,
  network: networkId,
  region,
  address,
  publicKey: text,
  createdAt: time,
});
const token = object<Token>({ id: text, name: text, org: optional(orgSlug), hash: text, createdAt: time });

type EventOf<K extends CatalogueEvent["kind"]> = Extract<CatalogueEvent, { readonly kind: K }>;

const DECODERS: { readonly [K in CatalogueEvent["kind"]]: Decoder<EventOf<K>> } = {
  organisation: object({ kind: oneOf("organisation"), value: organisation }),
  network: object({ kind: oneOf("network"), value: network }),
  app: object({ kind: oneOf("app"), value: app }),
  "app-gone": object({ kind: oneOf("app-gone"), name: appName }),
  address: object({ kind: oneOf("address"), value: flycastAddress }),
  "address-gone": object({ kind: oneOf("address-gone"), address }),
  machine: object({ kind: oneOf("machine"), value: machine }),
  "machine-gone": object({ kind: oneOf("machine-gone"), id: machineId }),
  peer: object({ kind: oneOf("peer"), value: peer }),
  "peer-gone": object({ kind: oneOf("peer-gone"), network: networkId, name: text }),
  token: object({ kind: oneOf("token"), value: token }),
  "token-gone": object({ kind: oneOf("token-gone"), id: text }),
  numbers: object({ kind: oneOf("numbers"), organisation: counter, app: counter }),
  "network-numbers": object({ kind: oneOf("network-numbers"), network: networkId, address: counter, peer: counter }),
};

const event: Decoder<CatalogueEvent> = (value, path) => {
  const kind: unknown = typeof value === "object" && value !== null && "kind" in value ? value.kind : undefined;
  if (typeof kind !== "string" || !Object.hasOwn(DECODERS, kind)) {
    throw new DecodeError(`${path}.kind`, "a kind of event that this version knows");
  }
  return DECODERS[kind as CatalogueEvent["kind"]](value, path);
};

/** Events that happened together, in a line of JSON: all of them are applied, or none. */
export interface CatalogueRecord {
  /** Counts up by one from 1. A gap means that something is missing. */
  readonly seq: number;
  readonly events: readonly CatalogueEvent[];
}

const record = object<CatalogueRecord>({ seq: whole(0, Number.MAX_SAFE_INTEGER), events: list(event) });

export function encodeRecord(value: CatalogueRecord): string {
  return toJson(value);
}

/** @throws DecodeError, or SyntaxError for what is no JSON. */
export function decodeRecord(json: string): CatalogueRecord {
  return record(JSON.parse(json), "record");
}
