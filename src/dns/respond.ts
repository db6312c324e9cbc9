/** A question to one of our zones and what its name stands for, as records. Values in, values out. */
import type { Ip6 } from "../core/ids.ts";
import { toBytes } from "../network/address.ts";
import { HEADER, RCODE, TYPE, keyOf, type Query } from "./codec.ts";
import { textData, type Reply, type ReplyRecord } from "./encode.ts";
import type { Node, Zone } from "./zone.ts";

/** Seconds. What the platform's servers send; clients see a change of Machines within this time. */
export const TTL = 5;
/** Seconds. A Machine that is asked for before it runs must not stay unknown for long (RFC 2308, 5). */
export const NEGATIVE_TTL = 1;
/** Picks a number from 0 to `below` − 1. Order among equals only: it need not be hard to guess. */
export type Pick = (below: number) => number;

/**
 * Types that are refused for every name before anything is looked up; undefined for those that are answered.
 * Transfers are not offered; the other meta types (RFC 6895, 3.1) ask for something that no server here does.
 */
export function refusedType(type: number): number | undefined {
  if (type === 0 || type === TYPE.OPT) return RCODE.FORMERR;
  if (type === TYPE.AXFR || type === TYPE.IXFR) return RCODE.REFUSED;
  if (type >= 128 && type < TYPE.ANY) return RCODE.NOTIMP;
  return undefined;
}

/** The answer to a question of class IN whose name is in `zone`. `node` is undefined when there is no such name. */
export function respond(
  query: Query,
  zone: Zone,
  node: Node | undefined,
  pick: Pick,
  addressData: (address: Ip6) => Uint8Array,
): Reply {
  const apexOffset = HEADER + query.key.length - zone.apex.length;
  if (node === undefined) return negative(RCODE.NXDOMAIN, apexOffset);
  const data = dataOf(query, node, apexOffset === HEADER, pick, addressData);
  if (data.length === 0) return negative(RCODE.NOERROR, apexOffset);
  const answers = data.map((bytes) => ({
    owner: HEADER,
    type: query.type === TYPE.ANY ? TYPE.HINFO : query.type,
    ttl: TTL,
    data: bytes,
  }));
  return { rcode: RCODE.NOERROR, authoritative: true, answers, authority: [] };
}

/** Only data of the type that was asked for: clients cast every record of the answer to that type without looking. */
function dataOf(
  query: Query,
  node: Node,
  isApex: boolean,
  pick: Pick,
  addressData: (address: Ip6) => Uint8Array,
): readonly Uint8Array[] {
  if (isApex && query.type === TYPE.SOA) return [soaData(HEADER)];
  if (isApex && query.type === TYPE.NS) return [NAME_SERVER];
  const any = query.type === TYPE.ANY;
  switch (node.kind) {
    case "addresses": {
      if (any) return node.addresses.length === 0 ? [] : [MINIMAL_ANY];
      if (query.type !== TYPE.AAAA) return [];
      const data = node.addresses.map(addressData);
      if (node.order === "any") shuffle(data, pick);
      return data;
    }
    case "text": {
      if (node.text === "") return [];
      if (any) return [MINIMAL_ANY];
      return query.type === TYPE.TXT ? [textData(node.text)] : [];
    }
    case "empty":
      return any && isApex ? [MINIMAL_ANY] : [];
  }
}

function negative(rcode: number, apexOffset: number): Reply {
  const soa: ReplyRecord = { owner: apexOffset, type: TYPE.SOA, ttl: NEGATIVE_TTL, data: soaData(apexOffset) };
  return { rcode, authoritative: true, answers: [], authority: [soa] };
}

function shuffle(list: Uint8Array[], pick: Pick): void {
  for (let i = list.length - 1; i > 0; i--) {
    const j = pick(i + 1);
    const [a, b] = [list[i], list[j]];
    if (a !== undefined && b !== undefined) [list[i], list[j]] = [b, a];
  }
}

/** Parsing an address costs more than all the rest of an answer, so the bytes of `size` addresses are kept. */
export function addressBytes(size = 10_000): (address: Ip6) => Uint8Array {
  const known = new Map<Ip6, Uint8Array>();
  return (address) => {
    let bytes = known.get(address);
    if (bytes === undefined) {
      bytes = toBytes(address);
      // Addresses seldom change: starting anew when full is simple, and bounded.
      if (known.size >= size) known.clear();
      known.set(address, bytes);
    }
    return bytes;
  };
}

/** `_api.internal`, the one name that every network has and that leads to this server. */
const NAME_SERVER = Buffer.from(`${keyOf(["_api", "internal"])}\0`, "latin1");
/** RFC 8482, 4.2: what to say to ANY instead of everything. */
const MINIMAL_ANY = Buffer.from("\x07RFC8482\x00", "latin1");

/** Serial 1: nobody transfers these zones. Refresh, retry and expire are there because the format wants them. */
function soaData(apexOffset: number): Uint8Array {
  const mailbox = keyOf(["hostmaster"]);
  const data = Buffer.alloc(NAME_SERVER.length + mailbox.length + 2 + 20);
  NAME_SERVER.copy(data);
  data.write(mailbox, NAME_SERVER.length, "latin1");
  const pointer = NAME_SERVER.length + mailbox.length;
  data.writeUInt16BE(0xc000 | apexOffset, pointer);
  for (const [index, value] of [1, 3600, 600, 86_400, NEGATIVE_TTL].entries()) {
    data.writeUInt32BE(value, pointer + 2 + index * 4);
  }
  return data;
}
