/** A whole response as values and text, for people: what `flycast dig` shows. Values in, values out; throws on nothing. */
import { fromBytes } from "../network/address.ts";
import { FLAG, HEADER, TYPE, readQuestion, readRecord, type RawRecord } from "./codec.ts";
import { rcodeName, typeLabel } from "./labels.ts";

export interface TextRecord {
  /** Absolute, with the final dot. */
  readonly name: string;
  /** Seconds. */
  readonly ttl: number;
  readonly class: string;
  readonly type: string;
  /** In the form of zone files (RFC 1035, 5.1); types without one as `\# length hex` (RFC 3597, 5). */
  readonly data: string;
}

export interface TextMessage {
  readonly id: number;
  /** `NOERROR`, `NXDOMAIN` and so on; `RCODE16` where there is no name. */
  readonly rcode: string;
  /** In the order of the header: `qr aa tc rd ra ad cd`. */
  readonly flags: readonly string[];
  readonly question: { readonly name: string; readonly class: string; readonly type: string } | undefined;
  readonly answers: readonly TextRecord[];
  readonly authority: readonly TextRecord[];
  readonly additional: readonly TextRecord[];
  readonly edns: { readonly version: number; readonly udpSize: number; readonly dnssecOk: boolean } | undefined;
  /** Extended error (RFC 8914), where the server gave one. */
  readonly why: { readonly code: number; readonly text: string } | undefined;
}

const FLAGS = [
  [FLAG.RESPONSE, "qr"],
  [FLAG.AUTHORITATIVE, "aa"],
  [FLAG.TRUNCATED, "tc"],
  [FLAG.RECURSION_DESIRED, "rd"],
  [FLAG.RECURSION_AVAILABLE, "ra"],
  [FLAG.AUTHENTIC, "ad"],
  [FLAG.CHECKING_DISABLED, "cd"],
] as const;

/** Undefined for bytes that are no DNS message. A cut message shows what is whole. */
export function readMessage(message: Buffer): TextMessage | undefined {
  if (message.length < HEADER) return undefined;
  const flags = message.readUInt16BE(2);
  const asked = message.readUInt16BE(4) === 1 ? readQuestion(message) : undefined;
  if (message.readUInt16BE(4) > 0 && asked === undefined) return undefined;
  const sections: TextRecord[][] = [[], [], []];
  let edns: TextMessage["edns"];
  let why: TextMessage["why"];
  let rcode = flags & 0xf;
  let offset = asked?.end ?? HEADER;
  for (const [index, section] of sections.entries()) {
    for (let left = message.readUInt16BE(6 + index * 2); left > 0; left--) {
      const record = readRecord(message, offset);
      if (record === undefined) break;
      if (record.type === TYPE.OPT) {
        rcode |= (record.ttl >>> 24) << 4;
        edns = { version: (record.ttl >>> 16) & 0xff, udpSize: record.klass, dnssecOk: (record.ttl & 0x8000) !== 0 };
        why = extendedError(message.subarray(record.dataOffset, record.end));
      } else {
        section.push({
          name: nameAt(message, offset).text,
          ttl: record.ttl,
          class: className(record.klass),
          type: typeText(record.type),
          data: dataText(message, record),
        });
      }
      offset = record.end;
    }
  }
  const named = rcodeName(rcode);
  return {
    id: message.readUInt16BE(0),
    rcode: named === "other" ? `RCODE${rcode}` : named,
    flags: FLAGS.filter(([bit]) => (flags & bit) !== 0).map(([, name]) => name),
    question:
      asked === undefined
        ? undefined
        : { name: nameAt(message, HEADER).text, class: className(asked.klass), type: typeText(asked.type) },
    answers: sections[0] ?? [],
    authority: sections[1] ?? [],
    additional: sections[2] ?? [],
    edns,
    why,
  };
}

function className(klass: number): string {
  return klass === 1 ? "IN" : klass === 3 ? "CH" : `CLASS${klass}`;
}

function typeText(type: number): string {
  const label = typeLabel(type);
  return label === "other" ? `TYPE${type}` : label;
}

function extendedError(options: Buffer): TextMessage["why"] {
  for (let offset = 0; offset + 4 <= options.length;) {
    const end = offset + 4 + options.readUInt16BE(offset + 2);
    if (options.readUInt16BE(offset) === 15 && end <= options.length && end >= offset + 6) {
      return { code: options.readUInt16BE(offset + 4), text: quoted(options.subarray(offset + 6, end)).slice(1, -1) };
    }
    offset = end;
  }
  return undefined;
}

function dataText(message: Buffer, record: RawRecord): string {
  const data = message.subarray(record.dataOffset, record.end);
  switch (record.type) {
    case TYPE.A:
      if (data.length === 4) return data.join(".");
      break;
    case TYPE.AAAA:
      if (data.length === 16) return fromBytes(data);
      break;
    case TYPE.TXT:
    case TYPE.HINFO:
      return strings(data).join(" ");
    case TYPE.NS:
    case TYPE.CNAME:
    case TYPE.PTR:
      return nameAt(message, record.dataOffset).text;
    case TYPE.MX:
      if (data.length > 2) return `${data.readUInt16BE(0)} ${nameAt(message, record.dataOffset + 2).text}`;
      break;
    case TYPE.SRV:
      if (data.length > 6) {
        const numbers = [0, 2, 4].map((at) => data.readUInt16BE(at)).join(" ");
        return `${numbers} ${nameAt(message, record.dataOffset + 6).text}`;
      }
      break;
    case TYPE.SOA: {
      const server = nameAt(message, record.dataOffset);
      const mailbox = nameAt(message, server.end);
      if (mailbox.end + 20 > record.end) break;
      const numbers = [0, 4, 8, 12, 16].map((at) => message.readUInt32BE(mailbox.end + at)).join(" ");
      return `${server.text} ${mailbox.text} ${numbers}`;
    }
    default:
      break;
  }
  return `\\# ${data.length}${data.length === 0 ? "" : ` ${data.toString("hex").toUpperCase()}`}`;
}

function strings(data: Buffer): string[] {
  const found: string[] = [];
  for (let offset = 0; offset < data.length;) {
    const end = offset + 1 + (data[offset] ?? 0);
    found.push(quoted(data.subarray(offset + 1, end)));
    offset = end;
  }
  return found;
}

/** What came from a network may hold anything: what is not plain ASCII is written as \DDD. */
function quoted(bytes: Buffer): string {
  return `"${escaped(bytes, /["\\]/)}"`;
}

function escaped(bytes: Buffer, special: RegExp): string {
  return Array.from(bytes, (byte) => {
    const char = String.fromCharCode(byte);
    if (byte < 0x20 || byte > 0x7e) return `\\${String(byte).padStart(3, "0")}`;
    return special.test(char) ? `\\${char}` : char;
  }).join("");
}

/** A name, pointers followed, and the offset after it where it stands. */
function nameAt(message: Buffer, start: number): { readonly text: string; readonly end: number } {
  const labels: string[] = [];
  let offset = start;
  let end: number | undefined;
  let used = 0;
  for (;;) {
    const length = message[offset];
    if (length === undefined || used > 255) break;
    if (length >= 0xc0) {
      end ??= offset + 2;
      const target = offset + 2 <= message.length ? message.readUInt16BE(offset) & 0x3fff : message.length;
      // Names are written once and pointed back to; whatever points on could go in circles.
      if (target >= offset) break;
      offset = target;
      continue;
    }
    if (length === 0 || length > 63) {
      end ??= offset + 1;
      break;
    }
    labels.push(escaped(message.subarray(offset + 1, offset + 1 + length), /[.\\"$()@;]/));
    used += length + 1;
    offset += length + 1;
  }
  return { text: labels.length === 0 ? "." : `${labels.join(".")}.`, end: end ?? message.length };
}
