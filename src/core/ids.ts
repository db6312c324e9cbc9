import { err, ok, type Result } from "./result.ts";
import type { Brand } from "./units.ts";

/** Name of an app: globally unique, lower-case letters, digits and dashes; it is a DNS label. */
export type AppName = Brand<string, "AppName">;
/** Slug of an organisation, such as `personal`. Same alphabet as an app name. */
export type OrgSlug = Brand<string, "OrgSlug">;
/** Name of a network inside its organisation; `default` always exists. Letters, digits, dashes, starting with a letter. */
export type NetworkName = Brand<string, "NetworkName">;
/** A network's 32-bit id. Drawn once, never used again. Bits 16 to 47 of every address on the network. */
export type NetworkId = Brand<number, "NetworkId">;
/** 14 lower-case hex digits. */
export type MachineId = Brand<string, "MachineId">;
/** A computer that runs Machines: 32 bits, groups 4 and 5 of its Machines' addresses. */
export type HostId = Brand<number, "HostId">;
/** A region code such as `iad`. Lower-case letters and digits. */
export type RegionCode = Brand<string, "RegionCode">;
/** An IPv6 address in the text form of RFC 5952. Equal addresses are equal strings. Made by `network/address.ts`. */
export type Ip6 = Brand<string, "Ip6">;
/** An IPv4 address, dotted quad. */
export type Ip4 = Brand<string, "Ip4">;

// A DNS label (RFC 1035, 2.3.1) without upper case. 63 is the limit of a label.
const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const NETWORK_NAME = /^[A-Za-z][A-Za-z0-9-]{0,62}$/;
const MACHINE_ID = /^[0-9a-f]{14}$/;
const REGION = /^[a-z][a-z0-9]{1,15}$/;

export function parseAppName(text: string): Result<AppName, string> {
  if (LABEL.test(text)) return ok(text as AppName);
  return err(`"${text}" is not an app name: use lower-case letters, digits and dashes, at most 63`);
}

export function parseOrgSlug(text: string): Result<OrgSlug, string> {
  if (LABEL.test(text)) return ok(text as OrgSlug);
  return err(`"${text}" is not an organisation's slug: use lower-case letters, digits and dashes, at most 63`);
}

export function parseNetworkName(text: string): Result<NetworkName, string> {
  if (NETWORK_NAME.test(text)) return ok(text as NetworkName);
  return err(`"${text}" is not a network's name: use letters, digits and dashes, starting with a letter`);
}

export function parseMachineId(text: string): Result<MachineId, string> {
  if (MACHINE_ID.test(text)) return ok(text as MachineId);
  return err(`"${text}" is not a Machine id: 14 hex digits`);
}

export function parseRegionCode(text: string): Result<RegionCode, string> {
  if (REGION.test(text)) return ok(text as RegionCode);
  return err(`"${text}" is not a region code: lower-case letters and digits, such as "iad"`);
}

/** A fresh Machine id from 7 random bytes. */
export function machineIdFrom(random: Uint8Array): MachineId {
  return Buffer.from(random.subarray(0, 7)).toString("hex").padStart(14, "0") as MachineId;
}

export const DEFAULT_NETWORK = "default" as NetworkName;
export const PERSONAL_ORG = "personal" as OrgSlug;
