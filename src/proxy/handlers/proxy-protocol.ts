import { isIPv4 } from "node:net";
import { parseIp6, toBytes } from "../../network/address.ts";
import type { Connection, Work } from "../context.ts";
import { crc32c } from "./crc32c.ts";

/** One end of a connection, IPv4 or IPv6. */
export interface End {
  readonly address: string;
  readonly port: number;
}

export const V2_SIGNATURE: Buffer = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");

/** Types of the fields after the addresses (The PROXY protocol, 2.2). */
export const TLV = {
  alpn: 0x01,
  authority: 0x02,
  crc32c: 0x03,
  ssl: 0x20,
  sslVersion: 0x21,
} as const;

/**
 * The PROXY header that goes before the client's bytes; undefined where the port does not ask for one. Source: the
 * caller as we report it; destination: the Flycast address and port as the caller dialled them.
 * @source haproxy.org/download/3.0/doc/proxy-protocol.txt
 */
export function proxyHeaderFor({ route, connection }: Pick<Work, "route" | "connection">): Buffer | undefined {
  const { port } = route;
  if (!port.handlers.has("proxy_proto")) return undefined;
  const source = connection.reported ?? connection.caller;
  if (port.proxyProtocol === "v2") return encodeV2(source, connection.destination, { tls: connection.tls });
  return encodeV1(source, connection.destination);
}

/** The header's text form. Both ends are IPv4, or both are written as IPv6. */
export function encodeV1(source: End, destination: End): Buffer {
  const both4 = isIPv4(source.address) && isIPv4(destination.address);
  const text = both4 ? (address: string) => address : asIp6;
  const family = both4 ? "TCP4" : "TCP6";
  return Buffer.from(
    `PROXY ${family} ${text(source.address)} ${text(destination.address)} ${source.port} ${destination.port}\r\n`,
    "latin1",
  );
}

/** The header's binary form, with what is known of TLS that ended here, and a checksum if asked for. */
export function encodeV2(
  source: End,
  destination: End,
  options: { readonly tls?: Connection["tls"]; readonly checksum?: boolean } = {},
): Buffer {
  const both4 = isIPv4(source.address) && isIPv4(destination.address);
  const bytesOf = (address: string): Uint8Array =>
    both4 ? Uint8Array.from(address.split(".").map(Number)) : bytesOfIp6(address);
  const ports = Buffer.alloc(4);
  ports.writeUInt16BE(source.port, 0);
  ports.writeUInt16BE(destination.port, 2);
  const fields = options.tls === undefined ? [] : tlsFields(options.tls);
  if (options.checksum) fields.push(field(TLV.crc32c, Buffer.alloc(4)));

  const body = Buffer.concat([bytesOf(source.address), bytesOf(destination.address), ports, ...fields]);
  const head = Buffer.alloc(4);
  head[0] = 0x21; // version 2, command PROXY
  head[1] = both4 ? 0x11 : 0x21; // over TCP
  head.writeUInt16BE(body.length, 2);
  const header = Buffer.concat([V2_SIGNATURE, head, body]);
  // The checksum is of the header with the checksum's own bytes zero, and it is the last field.
  if (options.checksum) header.writeUInt32BE(crc32c(header), header.length - 4);
  return header;
}

function tlsFields(tls: NonNullable<Connection["tls"]>): Buffer[] {
  const fields: Buffer[] = [];
  if (tls.alpn !== undefined) fields.push(field(TLV.alpn, Buffer.from(tls.alpn, "latin1")));
  if (tls.serverName !== undefined) fields.push(field(TLV.authority, Buffer.from(tls.serverName, "utf8")));
  // "The client connected over TLS", and no certificate of its own was verified (1).
  const client = Buffer.from([0x01, 0, 0, 0, 1]);
  fields.push(field(TLV.ssl, Buffer.concat([client, field(TLV.sslVersion, Buffer.from(tls.version, "latin1"))])));
  return fields;
}

function field(type: number, value: Buffer): Buffer {
  const head = Buffer.alloc(3);
  head[0] = type;
  head.writeUInt16BE(value.length, 1);
  return Buffer.concat([head, value]);
}

function asIp6(address: string): string {
  return isIPv4(address) ? `::ffff:${address}` : address;
}

function bytesOfIp6(address: string): Uint8Array {
  const parsed = parseIp6(asIp6(address));
  // Addresses come from the kernel or from our own parser; anything else is "unknown", all zeros.
  return parsed.ok ? toBytes(parsed.value) : new Uint8Array(16);
}
