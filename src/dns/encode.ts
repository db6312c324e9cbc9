/** Responses: values to bytes. Names are never spelled out: every owner is a pointer into the question. */
import { CLASS_IN, ECHOED, FLAG, HEADER, TYPE, type Edns, type Query } from "./codec.ts";

/** The largest message over UDP that no path has to fragment (DNS flag day 2020). Ours with EDNS; without, 512. */
export const UDP_SIZE = 1232;
const UDP_SIZE_WITHOUT_EDNS = 512;
/** Over TCP the length has 16 bits. */
const TCP_SIZE = 65_535;
const OPT_SIZE = 11;

/** Extended errors (RFC 8914, 4): why, for people who run `dig`. */
export const EXTENDED_ERROR = { OTHER: 0, PROHIBITED: 18, NO_REACHABLE_AUTHORITY: 22 } as const;

/** A record of an answer. Its owner is a name that the question already spells, so it is always a pointer. */
export interface ReplyRecord {
  /** Offset in the message where the owner's name begins: `HEADER` is the name asked for. */
  readonly owner: number;
  readonly type: number;
  /** Seconds. */
  readonly ttl: number;
  readonly data: Uint8Array;
}

export interface Reply {
  readonly rcode: number;
  readonly authoritative: boolean;
  readonly answers: readonly ReplyRecord[];
  readonly authority: readonly ReplyRecord[];
  /** Told to askers that use EDNS. */
  readonly why?: { readonly code: number; readonly text: string };
}

/** The largest response that the asker takes. Bytes. */
export function sizeLimit(edns: Edns | undefined, transport: "udp" | "tcp"): number {
  if (transport === "tcp") return TCP_SIZE;
  if (edns === undefined) return UDP_SIZE_WITHOUT_EDNS;
  return Math.min(UDP_SIZE, Math.max(UDP_SIZE_WITHOUT_EDNS, edns.udpSize));
}

/**
 * The response to a query, at most `limit` bytes long. Records that do not fit are left out whole, from the end, and TC
 * is set: resolvers that cannot ask again over TCP (musl before 1.2.4) take the part that did fit.
 */
export function encodeReply(message: Buffer, query: Query, reply: Reply, limit: number): Buffer {
  const why = query.edns === undefined ? undefined : reply.why;
  const reserved = query.edns === undefined ? 0 : OPT_SIZE + (why === undefined ? 0 : 6 + why.text.length);
  const room = limit - reserved;
  let size = query.questionEnd;
  let answers = 0;
  for (const record of reply.answers) {
    const next = size + 12 + record.data.length;
    if (next > room) break;
    size = next;
    answers++;
  }
  let truncated = answers < reply.answers.length;
  let authority = 0;
  if (!truncated) {
    for (const record of reply.authority) {
      const next = size + 12 + record.data.length;
      if (next > room) {
        truncated = true;
        break;
      }
      size = next;
      authority++;
    }
  }

  const out = Buffer.allocUnsafe(size + reserved);
  message.copy(out, 0, 0, query.questionEnd);
  const flags =
    FLAG.RESPONSE |
    (query.flags & ECHOED) |
    FLAG.RECURSION_AVAILABLE |
    (reply.authoritative ? FLAG.AUTHORITATIVE : 0) |
    (truncated ? FLAG.TRUNCATED : 0) |
    (reply.rcode & 0xf);
  out.writeUInt16BE(flags, 2);
  out.writeUInt16BE(answers, 6);
  out.writeUInt16BE(authority, 8);
  out.writeUInt16BE(query.edns === undefined ? 0 : 1, 10);
  let offset = query.questionEnd;
  for (let i = 0; i < answers; i++) offset = writeRecord(out, offset, reply.answers[i]);
  for (let i = 0; i < authority; i++) offset = writeRecord(out, offset, reply.authority[i]);
  if (query.edns !== undefined) writeOpt(out, offset, reply.rcode, query.edns, why);
  return out;
}

function writeRecord(out: Buffer, offset: number, record: ReplyRecord | undefined): number {
  if (record === undefined) return offset;
  out.writeUInt16BE(0xc000 | record.owner, offset);
  out.writeUInt16BE(record.type, offset + 2);
  out.writeUInt16BE(CLASS_IN, offset + 4);
  out.writeUInt32BE(record.ttl, offset + 6);
  out.writeUInt16BE(record.data.length, offset + 10);
  out.set(record.data, offset + 12);
  return offset + 12 + record.data.length;
}

function writeOpt(out: Buffer, offset: number, rcode: number, edns: Edns, why: Reply["why"]): void {
  const optionSize = why === undefined ? 0 : 6 + why.text.length;
  out[offset] = 0;
  out.writeUInt16BE(TYPE.OPT, offset + 1);
  out.writeUInt16BE(UDP_SIZE, offset + 3);
  // Upper bits of the rcode, version 0, and DO as it came (RFC 3225, 3).
  out.writeUInt32BE(((rcode >>> 4) << 24) | (edns.dnssecOk ? 0x8000 : 0), offset + 5);
  out.writeUInt16BE(optionSize, offset + 9);
  if (why === undefined) return;
  out.writeUInt16BE(15, offset + 11);
  out.writeUInt16BE(2 + why.text.length, offset + 13);
  out.writeUInt16BE(why.code, offset + 15);
  out.write(why.text, offset + 17, "latin1");
}

/** The response to what could not be read as a query: a header, and OPT where the asker has shown that it knows it. */
export function encodeRejection(message: Buffer, rcode: number, edns: Edns | undefined): Buffer {
  const out = Buffer.alloc(HEADER + (edns === undefined ? 0 : OPT_SIZE));
  message.copy(out, 0, 0, 2);
  out.writeUInt16BE(FLAG.RESPONSE | (message.readUInt16BE(2) & ECHOED) | (rcode & 0xf), 2);
  if (edns === undefined) return out;
  out.writeUInt16BE(1, 10);
  writeOpt(out, HEADER, rcode, edns, undefined);
  return out;
}

/** Text as the data of one TXT record: strings of at most 255 bytes, which readers join without a separator. */
export function textData(text: string): Uint8Array {
  const bytes = Buffer.from(text, "latin1");
  const strings = Math.max(1, Math.ceil(bytes.length / 255));
  const data = Buffer.allocUnsafe(bytes.length + strings);
  for (let i = 0, offset = 0; i < strings; i++) {
    const part = bytes.subarray(i * 255, (i + 1) * 255);
    data[offset] = part.length;
    data.set(part, offset + 1);
    offset += part.length + 1;
  }
  return data;
}
