import { isIPv4, isIPv6 } from "node:net";
import { fromBytes, plainAddress } from "../../network/address.ts";
import { crc32c } from "./crc32c.ts";
import { TLV, V2_SIGNATURE, type End } from "./proxy-protocol.ts";

export type ParsedHeader =
  /** More bytes are needed. */
  | { readonly kind: "more" }
  | { readonly kind: "invalid"; readonly why: string }
  /** `source` is undefined for LOCAL and UNKNOWN: the sender speaks for itself. `length`: bytes of the header. */
  | { readonly kind: "header"; readonly length: number; readonly source: End | undefined };

const V1_LONGEST = 107;
/** Room for the addresses and every field in use; the format itself would allow 64 KiB. */
const V2_LONGEST = 16 + 4096;
const MORE: ParsedHeader = { kind: "more" };

/** The most bytes that a header can need before the parser has decided. */
export const LONGEST_HEADER: number = V2_LONGEST;

/**
 * A PROXY header, version 1 or 2, at the start of the bytes. Strict: whatever the specification does not allow is
 * invalid, and so is the absence of a header.
 * @source haproxy.org/download/3.0/doc/proxy-protocol.txt
 */
export function parseProxyHeader(bytes: Buffer): ParsedHeader {
  if (bytes.length === 0) return MORE;
  return bytes[0] === V2_SIGNATURE[0] ? parseV2(bytes) : parseV1(bytes);
}

const V1 =
  /^PROXY (?:UNKNOWN(?: [\x20-\x7e]*)?|(TCP4|TCP6) ([0-9A-Fa-f:.]{2,45}) ([0-9A-Fa-f:.]{2,45}) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4}))$/;

function parseV1(bytes: Buffer): ParsedHeader {
  const start = bytes.subarray(0, 6).toString("latin1");
  if (!"PROXY ".startsWith(start)) return invalid("it does not begin with a PROXY header");
  const end = bytes.subarray(0, V1_LONGEST).indexOf("\r\n");
  if (end < 0) return bytes.length >= V1_LONGEST ? invalid("the line is longer than 107 bytes") : MORE;
  const match = V1.exec(bytes.subarray(0, end).toString("latin1"));
  if (match === null) return invalid("the line is malformed");
  const length = end + 2;
  const [, family, source, destination, sourcePort, destinationPort] = match;
  if (family === undefined) return { kind: "header", length, source: undefined };
  const isAddress = family === "TCP4" ? isIPv4 : isIPv6;
  if (source === undefined || destination === undefined || !isAddress(source) || !isAddress(destination))
    return invalid("an address is not of its family");
  if (Number(sourcePort) > 65535 || Number(destinationPort) > 65535) return invalid("a port is out of range");
  return { kind: "header", length, source: { address: plainAddress(source), port: Number(sourcePort) } };
}

function parseV2(bytes: Buffer): ParsedHeader {
  const known = Math.min(bytes.length, V2_SIGNATURE.length);
  if (!bytes.subarray(0, known).equals(V2_SIGNATURE.subarray(0, known))) return invalid("the signature is wrong");
  if (bytes.length < 16) return MORE;
  const version = bytes.readUInt8(12);
  const family = bytes.readUInt8(13);
  const length = 16 + bytes.readUInt16BE(14);
  if (version >> 4 !== 2) return invalid("the version is not 2");
  const command = version & 0x0f;
  if (command > 1) return invalid("the command is unknown");
  if (length > V2_LONGEST) return invalid(`the header is longer than ${V2_LONGEST} bytes`);
  if (bytes.length < length) return MORE;

  const header = bytes.subarray(0, length);
  const addresses = addressLength(family);
  if (addresses === undefined) return invalid("the family or the transport is unknown");
  // The sender's own health check: whatever addresses it carries mean nothing.
  const isLocal = command === 0;
  if (!isLocal && header.length < 16 + addresses) return invalid("the addresses are cut short");
  const fields = isLocal ? undefined : checkFields(header, 16 + addresses);
  if (fields !== undefined) return invalid(fields);
  return { kind: "header", length, source: isLocal ? undefined : sourceOf(header, family) };
}

/** Bytes of the address block: unspecified, TCP over IPv4, TCP over IPv6, stream over a Unix socket. */
function addressLength(family: number): number | undefined {
  switch (family) {
    case 0x00:
      return 0;
    case 0x11:
      return 12;
    case 0x21:
      return 36;
    case 0x31:
      return 216;
    default:
      return undefined;
  }
}

function sourceOf(header: Buffer, family: number): End | undefined {
  if (family === 0x11) return { address: header.subarray(16, 20).join("."), port: header.readUInt16BE(24) };
  if (family !== 0x21) return undefined;
  const bytes = header.subarray(16, 32);
  const mapped = bytes.subarray(0, 12).equals(MAPPED);
  return {
    address: mapped ? bytes.subarray(12).join(".") : fromBytes(bytes),
    port: header.readUInt16BE(48),
  };
}

const MAPPED = Buffer.from("00000000000000000000ffff", "hex");

/** What is wrong with the fields after the addresses; undefined: nothing. A checksum, where there is one, must be right. */
function checkFields(header: Buffer, from: number): string | undefined {
  for (let at = from; at < header.length;) {
    if (header.length - at < 3) return "a field is cut short";
    const type = header.readUInt8(at);
    const length = header.readUInt16BE(at + 1);
    if (header.length - at - 3 < length) return "a field is cut short";
    if (type === TLV.crc32c) {
      if (length !== 4) return "the checksum is not of 4 bytes";
      const copy = Buffer.from(header);
      copy.fill(0, at + 3, at + 7);
      if (crc32c(copy) !== header.readUInt32BE(at + 3)) return "the checksum is wrong";
    }
    at += 3 + length;
  }
  return undefined;
}

function invalid(why: string): ParsedHeader {
  return { kind: "invalid", why };
}
