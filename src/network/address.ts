import { err, ok, type Result } from "../core/result.ts";
import type { HostId, Ip6, NetworkId } from "../core/ids.ts";

/**
 * IPv6 addresses of the private network. Text is always in the form of RFC 5952, so equal addresses are equal strings.
 * Layouts: superfly/docs networking/private-networking, networking/flycast (2026-08-07).
 *
 *     fdaa:NNNN:NNNN:HHHH:HHHH:MMMM:MMMM:0002   a Machine: network, host, Machine part; it owns the /112
 *     fdaa:NNNN:NNNN:0000:0001:0000:0000:000n   a Flycast address, counted per network
 *     fdaa:NNNN:NNNN:0a7b:xxxx:0000:000a:nn02   a WireGuard peer; it owns the /120
 *     fdaa:NNNN:NNNN:0000:0000:0000:0000:0003   DNS and API of the network
 *     fdaa::3                                   DNS and API, for whoever asks
 */
export type Groups = readonly [number, number, number, number, number, number, number, number];

const ULA = 0xfdaa;

/** Parses any spelling of RFC 4291 (2.2), an IPv4 tail included; no zone, no prefix length. */
export function parseIp6(text: string): Result<Ip6, string> {
  const groups = parseGroups(text);
  return groups === undefined ? err(`"${text}" is not an IPv6 address`) : ok(formatGroups(groups));
}

export function parseGroups(text: string): Groups | undefined {
  if (text.length < 2 || text.length > 45) return undefined;
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const head = parseHalf(halves[0] ?? "", halves.length === 1);
  const tail = halves.length === 2 ? parseHalf(halves[1] ?? "", true) : [];
  if (head === undefined || tail === undefined) return undefined;
  const missing = 8 - head.length - tail.length;
  // "::" stands for at least one group of zeros.
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined;
  return [...head, ...Array<number>(missing).fill(0), ...tail] as unknown as Groups;
}

function parseHalf(text: string, mayEndInIp4: boolean): number[] | undefined {
  if (text === "") return [];
  const parts = text.split(":");
  const groups: number[] = [];
  for (const [index, part] of parts.entries()) {
    if (part.includes(".")) {
      const ip4 = mayEndInIp4 && index === parts.length - 1 ? parseIp4Bytes(part) : undefined;
      if (ip4 === undefined) return undefined;
      groups.push(ip4[0] * 256 + ip4[1], ip4[2] * 256 + ip4[3]);
    } else {
      if (!/^[0-9a-fA-F]{1,4}$/.test(part)) return undefined;
      groups.push(Number.parseInt(part, 16));
    }
  }
  return groups.length > 8 ? undefined : groups;
}

function parseIp4Bytes(text: string): readonly [number, number, number, number] | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (match === null) return undefined;
  const parts = match.slice(1);
  // "01" would be octal to some readers: refused.
  if (parts.some((p) => Number(p) > 255 || (p.length > 1 && p.startsWith("0")))) return undefined;
  return parts.map(Number) as unknown as readonly [number, number, number, number];
}

/** RFC 5952: lower case, no leading zeros, the longest (then first) run of two or more zero groups as `::`. */
export function formatGroups(groups: Groups): Ip6 {
  let bestStart = -1;
  let bestLength = 1;
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (start + length < 8 && groups[start + length] === 0) length++;
    if (length > bestLength) {
      bestStart = start;
      bestLength = length;
    }
    start += length;
  }
  const hex = groups.map((group) => group.toString(16));
  if (bestStart < 0) return hex.join(":") as Ip6;
  return `${hex.slice(0, bestStart).join(":")}::${hex.slice(bestStart + bestLength).join(":")}` as Ip6;
}

export function groupsOf(address: Ip6): Groups {
  const groups = parseGroups(address);
  if (groups === undefined) throw new Error(`not an address: ${address}`);
  return groups;
}

/** 16 bytes, network order. */
export function toBytes(address: Ip6): Uint8Array {
  const bytes = new Uint8Array(16);
  for (const [index, group] of groupsOf(address).entries()) {
    bytes[index * 2] = group >> 8;
    bytes[index * 2 + 1] = group & 0xff;
  }
  return bytes;
}

/** @throws RangeError unless there are exactly 16 bytes. */
export function fromBytes(bytes: Uint8Array): Ip6 {
  if (bytes.length !== 16) throw new RangeError(`an IPv6 address has 16 bytes, not ${bytes.length}`);
  const groups = Array.from({ length: 8 }, (_, i) => (bytes[i * 2] ?? 0) * 256 + (bytes[i * 2 + 1] ?? 0));
  return formatGroups(groups as unknown as Groups);
}

/** An address as a socket reports it: without zone, and IPv4-mapped ones as IPv4. */
export function plainAddress(reported: string): string {
  const zone = reported.indexOf("%");
  const address = zone < 0 ? reported : reported.slice(0, zone);
  return address.startsWith("::ffff:") && address.includes(".") ? address.slice(7) : address;
}

const hi = (value: number): number => (value >>> 16) & 0xffff;
const lo = (value: number): number => value & 0xffff;

/** `fdaa::3`: DNS and API for everybody. */
export const ANY_DNS: Ip6 = formatGroups([ULA, 0, 0, 0, 0, 0, 0, 3]);

/** The network's /48 in CIDR form. */
export function networkCidr(network: NetworkId): string {
  return `${formatGroups([ULA, hi(network), lo(network), 0, 0, 0, 0, 0])}/48`;
}

/** The /80 that holds every Flycast address of the network, in CIDR form. */
export function flycastCidr(network: NetworkId): string {
  return `${formatGroups([ULA, hi(network), lo(network), 0, 1, 0, 0, 0])}/80`;
}

/** `<prefix>::3`. */
export function dnsAddress(network: NetworkId): Ip6 {
  return formatGroups([ULA, hi(network), lo(network), 0, 0, 0, 0, 3]);
}

/** The Flycast address with this number, 1 to 2^32 − 1. */
export function flycastAddress(network: NetworkId, number: number): Ip6 {
  return formatGroups([ULA, hi(network), lo(network), 0, 1, 0, hi(number), lo(number)]);
}

/** A Machine's own address. `part` is any 32-bit number that is unique on the host and network. */
export function machineAddress(network: NetworkId, host: HostId, part: number): Ip6 {
  return formatGroups([ULA, hi(network), lo(network), hi(host), lo(host), hi(part), lo(part), 2]);
}

/** The address of peer number `number` (0 to 255) behind gateway `gateway` (16 bits). It owns the /120 around it. */
export function peerAddress(network: NetworkId, gateway: number, number: number): Ip6 {
  return formatGroups([ULA, hi(network), lo(network), 0x0a7b, gateway & 0xffff, 0, 0x000a, (number << 8) | 2]);
}

/** The /120 of a peer, in CIDR form. */
export function peerCidr(address: Ip6): string {
  const groups = groupsOf(address);
  return `${formatGroups([...groups.slice(0, 7), groups[7] & 0xff00] as unknown as Groups)}/120`;
}

/** The network that an address belongs to; undefined outside fdaa::/16 and for `fdaa::3`, which belongs to all. */
export function networkOf(address: Ip6): NetworkId | undefined {
  const groups = groupsOf(address);
  if (groups[0] !== ULA) return undefined;
  const id = groups[1] * 0x1_0000 + groups[2];
  return id === 0 ? undefined : (id as NetworkId);
}

export type AddressKind = "machine" | "flycast" | "peer" | "dns" | "other";

/** What an address is by its layout alone; whether anything has it is the registry's to say. */
export function kindOf(address: Ip6): AddressKind {
  const g = groupsOf(address);
  if (g[0] !== ULA) return "other";
  if (g[3] === 0 && g[4] === 0 && g[5] === 0 && g[6] === 0) return g[7] === 3 ? "dns" : "other";
  if (g[1] === 0 && g[2] === 0) return "other";
  if (g[3] === 0 && g[4] === 1) return g[5] === 0 && (g[6] !== 0 || g[7] !== 0) ? "flycast" : "other";
  if (g[3] === 0x0a7b && g[5] === 0 && g[6] === 0x000a) return "peer";
  return g[7] === 2 ? "machine" : "other";
}

/** The number at the end of a Flycast address. */
export function flycastNumber(address: Ip6): number | undefined {
  if (kindOf(address) !== "flycast") return undefined;
  const groups = groupsOf(address);
  return groups[6] * 0x1_0000 + groups[7];
}
