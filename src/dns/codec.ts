/**
 * DNS messages: bytes to values (RFC 1035, 4; EDNS: RFC 6891); `encode.ts` goes the other way. Only what a server of two small zones and a
 * forwarder need: one question a message, and records that are carried rather than understood. Nothing here throws on
 * any bytes.
 */

export const TYPE = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  HINFO: 13,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  OPT: 41,
  TKEY: 249,
  TSIG: 250,
  IXFR: 251,
  AXFR: 252,
  MAILB: 253,
  MAILA: 254,
  ANY: 255,
} as const;

export const CLASS_IN = 1;

export const RCODE = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
  BADVERS: 16,
} as const;

export const FLAG = {
  RESPONSE: 0x8000,
  AUTHORITATIVE: 0x0400,
  TRUNCATED: 0x0200,
  RECURSION_DESIRED: 0x0100,
  RECURSION_AVAILABLE: 0x0080,
  AUTHENTIC: 0x0020,
  CHECKING_DISABLED: 0x0010,
} as const;
const OPCODE_MASK = 0x7800;
/** What a response repeats of its query: opcode, RD and CD. */
export const ECHOED = OPCODE_MASK | FLAG.RECURSION_DESIRED | FLAG.CHECKING_DISABLED;

export const HEADER = 12;
/** A name in wire form, length bytes and the root included (RFC 1035, 2.3.4). */
const NAME_SIZE = 255;

export interface Edns {
  /** Largest answer over UDP that the asker takes, in bytes, as sent. */
  readonly udpSize: number;
  readonly version: number;
  readonly dnssecOk: boolean;
}

/** A well-formed query with one question. */
export interface Query {
  readonly id: number;
  /** Bits 16 to 31 of the header, as sent. */
  readonly flags: number;
  /** The name asked for: wire form without the root byte, ASCII letters lowered, as Latin-1. Equal names are equal strings. */
  readonly key: string;
  readonly type: number;
  readonly klass: number;
  /** Offset of the first byte after the question. */
  readonly questionEnd: number;
  readonly edns: Edns | undefined;
}

/** `drop`: no query at all, so not worth an answer. `reject`: to be answered with the rcode and nothing more. */
export type Decoded =
  | { readonly kind: "drop" }
  | { readonly kind: "reject"; readonly rcode: number; readonly edns: Edns | undefined }
  | { readonly kind: "query"; readonly query: Query };

const DROP: Decoded = { kind: "drop" };
const FORMERR: Decoded = { kind: "reject", rcode: RCODE.FORMERR, edns: undefined };
const NOTIMP: Decoded = { kind: "reject", rcode: RCODE.NOTIMP, edns: undefined };

export function decodeQuery(message: Buffer): Decoded {
  if (message.length < HEADER) return DROP;
  const flags = message.readUInt16BE(2);
  // A response is never answered: two servers would go on for ever.
  if ((flags & FLAG.RESPONSE) !== 0) return DROP;
  if ((flags & OPCODE_MASK) !== 0) return NOTIMP;
  // RFC 9619: more than one question means nothing.
  if (message.readUInt16BE(4) !== 1 || (flags & FLAG.TRUNCATED) !== 0) return FORMERR;
  const question = readQuestion(message);
  if (question === undefined) return FORMERR;

  let edns: Edns | undefined;
  let offset = question.end;
  const records = message.readUInt16BE(6) + message.readUInt16BE(8) + message.readUInt16BE(10);
  for (let i = 0; i < records; i++) {
    const record = readRecord(message, offset);
    if (record === undefined) return FORMERR;
    if (record.type === TYPE.OPT) {
      // RFC 6891, 6.1.1: at most one, owned by the root, and options that add up.
      if (edns !== undefined || message[offset] !== 0 || !wholeOptions(message, record)) return FORMERR;
      edns = {
        udpSize: record.klass,
        version: (record.ttl >>> 16) & 0xff,
        dnssecOk: (record.ttl & 0x8000) !== 0,
      };
    }
    offset = record.end;
  }
  if (edns !== undefined && edns.version > 0) return { kind: "reject", rcode: RCODE.BADVERS, edns };
  const query: Query = {
    id: message.readUInt16BE(0),
    flags,
    key: question.key,
    type: question.type,
    klass: question.klass,
    questionEnd: question.end,
    edns,
  };
  return { kind: "query", query };
}

export interface Question {
  readonly key: string;
  readonly type: number;
  readonly klass: number;
  readonly end: number;
}

// Filled and read within one call.
const lowered = Buffer.alloc(NAME_SIZE);

/** The question of a message that has one. Undefined when it is malformed; a pointer has nowhere to point to yet. */
export function readQuestion(message: Buffer): Question | undefined {
  let offset = HEADER;
  let used = 0;
  for (;;) {
    const length = message[offset];
    if (length === undefined || length > 63) return undefined;
    if (length === 0) break;
    if (offset + length >= message.length || used + length + 2 > NAME_SIZE) return undefined;
    lowered[used++] = length;
    for (let i = offset + 1; i <= offset + length; i++) {
      const byte = message[i] ?? 0;
      lowered[used++] = byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte;
    }
    offset += length + 1;
  }
  if (offset + 5 > message.length) return undefined;
  return {
    key: lowered.toString("latin1", 0, used),
    type: message.readUInt16BE(offset + 1),
    klass: message.readUInt16BE(offset + 3),
    end: offset + 5,
  };
}

/** The labels of a key, first one first. A label may hold any byte, dots too. */
export function labelsOf(key: string): string[] {
  const labels: string[] = [];
  for (let offset = 0; offset < key.length;) {
    const end = offset + 1 + key.charCodeAt(offset);
    labels.push(key.slice(offset + 1, end));
    offset = end;
  }
  return labels;
}

/** The key of labels that are known to be good: ASCII, lower case, 1 to 63 bytes each. */
export function keyOf(labels: readonly string[]): string {
  return labels.map((label) => String.fromCharCode(label.length) + label).join("");
}

export interface RawRecord {
  readonly type: number;
  readonly klass: number;
  readonly ttl: number;
  readonly ttlOffset: number;
  readonly dataOffset: number;
  readonly end: number;
}

/** The fixed part of the record at `offset`. Undefined when it does not fit into the message. */
export function readRecord(message: Buffer, offset: number): RawRecord | undefined {
  const name = skipName(message, offset);
  if (name === undefined || name + 10 > message.length) return undefined;
  const dataOffset = name + 10;
  const end = dataOffset + message.readUInt16BE(name + 8);
  if (end > message.length) return undefined;
  return {
    type: message.readUInt16BE(name),
    klass: message.readUInt16BE(name + 2),
    ttl: message.readUInt32BE(name + 4),
    ttlOffset: name + 4,
    dataOffset,
    end,
  };
}

function skipName(message: Buffer, start: number): number | undefined {
  let offset = start;
  for (;;) {
    const length = message[offset];
    if (length === undefined) return undefined;
    if (length === 0) return offset + 1;
    if (length >= 0xc0) return offset + 2;
    if (length > 63 || offset - start > NAME_SIZE) return undefined;
    offset += length + 1;
  }
}

function wholeOptions(message: Buffer, record: RawRecord): boolean {
  let offset = record.dataOffset;
  while (offset + 4 <= record.end) offset += 4 + message.readUInt16BE(offset + 2);
  return offset === record.end;
}
