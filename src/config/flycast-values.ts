import { isIP } from "node:net";
import {
  DEFAULT_NETWORK,
  parseNetworkName,
  parseOrgSlug,
  parseRegionCode,
  type NetworkName,
  type OrgSlug,
  type RegionCode,
} from "../core/ids.ts";
import { err, ok, type Result } from "../core/result.ts";
import { parsePort, type Port } from "../core/units.ts";
import { keyText, type Type } from "./schema.ts";
import { text } from "./schema-leaves.ts";
import { mapped } from "./schema-tables.ts";

/** Text that a parser of ours must accept. */
function parsedText<T>(label: string, remedy: string, parse: (value: string) => Result<T, string>): Type<T> {
  return mapped(
    text,
    (value, path, context) => {
      const parsed = parse(value);
      if (parsed.ok) return parsed.value;
      const message = `${keyText(path)}: ${parsed.error}`;
      context.report({ grade: "error", path, rule: "bad-value", message, remedy });
      return undefined;
    },
    { label, json: { type: "string" } },
  );
}

export interface HostPort {
  readonly host: string;
  readonly port: Port;
}

function shown(value: string): string {
  return JSON.stringify(value.slice(0, 80));
}

/** `127.0.0.1:8080`, `[::1]:8080`. The host must be an address, so that nothing is resolved. */
export function parseHostPort(value: string): Result<HostPort, string> {
  const match = /^(?:\[([^\]]{2,64})\]|([^:[\]]{1,64})):(\d{1,5})$/.exec(value);
  const host = match?.[1] ?? match?.[2];
  const number = match === null ? undefined : parsePort(Number(match[3]));
  if (host === undefined || number === undefined || !isAddress(host)) return err(`${shown(value)} is not address:port`);
  return number.ok ? ok({ host, port: number.value }) : number;
}

const HOST_NAME = /^(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?$/i;

function isAddress(value: string): boolean {
  return isIP(value) !== 0;
}

export const hostPort = parsedText("`address:port`", 'write "127.0.0.1:4280" or "[::1]:4280"', parseHostPort);

/** A name of DNS, or an address: what a client writes before `:51820`. */
export const endpoint = parsedText("a name or address", 'write "vpn.example.com" or "203.0.113.7"', (value) => {
  if (isAddress(value) || HOST_NAME.test(value)) return ok(value);
  return err(`${shown(value)} is not a name or address`);
});

/** `address` or `address:port`, as text. */
export const upstream = parsedText("an address, or `address:port`", 'write "9.9.9.9" or "9.9.9.9:53"', (value) => {
  if (isAddress(value) || parseHostPort(value).ok) return ok(value);
  return err(`${shown(value)} is not an address`);
});

function isCidr(value: string): boolean {
  const [, address = "", bits = ""] = /^([^/]+)\/(\d{1,3})$/.exec(value) ?? [];
  const family = isIP(address);
  return family !== 0 && Number(bits) <= (family === 4 ? 32 : 128);
}

/** A CIDR, or an address alone, as text. */
export const cidr = parsedText("an address or CIDR", 'write "10.0.0.0/8" or "fd00::/8"', (value) => {
  if (isAddress(value) || isCidr(value)) return ok(value);
  return err(`${shown(value)} is not an address or CIDR`);
});

export interface NetworkRef {
  readonly org: OrgSlug;
  readonly network: NetworkName;
}

/** `org`, which means its default network, or `org/network`. */
export function parseNetworkRef(value: string): Result<NetworkRef, string> {
  const slash = value.indexOf("/");
  const org = parseOrgSlug(slash === -1 ? value : value.slice(0, slash));
  if (!org.ok) return org;
  if (slash === -1) return ok({ org: org.value, network: DEFAULT_NETWORK });
  const network = parseNetworkName(value.slice(slash + 1));
  return network.ok ? ok({ org: org.value, network: network.value }) : network;
}

export const networkRef = parsedText(
  "`org` or `org/network`",
  'write "personal" or "personal/default"',
  parseNetworkRef,
);
export const orgSlug = parsedText("an organisation", 'write "personal"', parseOrgSlug);
export const networkName = parsedText("a network's name", 'write "default"', parseNetworkName);
export const regionCode: Type<RegionCode> = parsedText("a region code", 'write a code such as "iad"', parseRegionCode);

export type Registry = { readonly kind: "file" } | { readonly kind: "redis"; readonly url: string };

export const registry = parsedText<Registry>(
  "`file`, or a `redis://` or `rediss://` URL",
  'write "file" or "redis://127.0.0.1:6379/0"',
  (value) => {
    if (value === "file") return ok({ kind: "file" });
    if (/^rediss?:\/\//.test(value) && URL.canParse(value)) return ok({ kind: "redis", url: value });
    // A URL may hold a password, so it is not repeated.
    return err('it is neither "file" nor a Redis URL');
  },
);

/** A port of this machine (on 127.0.0.1), or `address:port`. */
export const publishTarget: Type<HostPort> = {
  label: "a port, or `address:port`",
  json: { type: ["integer", "string"] },
  read(value, path, context) {
    if (typeof value !== "number") return hostPort.read(value, path, context);
    const number = parsePort(value);
    if (number.ok) return { host: "127.0.0.1", port: number.value };
    context.report({ grade: "error", path, rule: "bad-port", message: `${keyText(path)}: ${number.error}` });
    return undefined;
  },
};
