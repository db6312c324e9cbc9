import { createHash, randomBytes, sign, type KeyObject } from "node:crypto";
import { bits, implicit, integer, octets, oid, sequence, set, tagged, time, utf8, yes } from "./der.ts";

export interface CertificateRequest {
  readonly subject: string;
  readonly publicKey: KeyObject;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** The signer's name and keys; for the authority itself its own. */
  readonly issuer: { readonly subject: string; readonly publicKey: KeyObject; readonly privateKey: KeyObject };
  readonly kind:
    | { readonly type: "authority"; readonly permitted: readonly string[] }
    | { readonly type: "server"; readonly names: readonly string[] };
}

const ECDSA_WITH_SHA256 = sequence(oid("1.2.840.10045.4.3.2"));

/** A version 3 certificate (RFC 5280) for P-256 keys, in PEM. */
export function makeCertificate(request: CertificateRequest): string {
  const body = sequence(
    tagged(0, integer(Buffer.from([2]))),
    integer(randomSerial()),
    ECDSA_WITH_SHA256,
    name(request.issuer.subject),
    sequence(time(request.notBefore), time(request.notAfter)),
    name(request.subject),
    request.publicKey.export({ type: "spki", format: "der" }),
    tagged(3, sequence(...extensions(request))),
  );
  const certificate = sequence(body, ECDSA_WITH_SHA256, bits(sign("sha256", body, request.issuer.privateKey)));
  const lines = certificate.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}

/** Positive, never zero, 127 random bits. */
function randomSerial(): Buffer {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes;
}

function name(commonName: string): Buffer {
  return sequence(set(sequence(oid("2.5.4.3"), utf8(commonName))));
}

function extensions(request: CertificateRequest): Buffer[] {
  const { kind } = request;
  const shared = [
    extension("2.5.29.14", octets(keyId(request.publicKey))),
    extension("2.5.29.35", sequence(implicit(0, keyId(request.issuer.publicKey)))),
  ];
  if (kind.type === "authority") {
    return [
      // An authority that may sign servers, and no further authorities.
      critical("2.5.29.19", sequence(yes(), integer(Buffer.from([0])))),
      critical("2.5.29.15", bits(Buffer.from([0b0000_0110]), 1)), // keyCertSign, cRLSign
      critical("2.5.29.30", nameConstraints(kind.permitted)),
      ...shared,
    ];
  }
  return [
    critical("2.5.29.19", sequence()),
    critical("2.5.29.15", bits(Buffer.from([0b1000_0000]), 7)), // digitalSignature
    extension("2.5.29.37", sequence(oid("1.3.6.1.5.5.7.3.1"))), // serverAuth
    extension("2.5.29.17", sequence(...kind.names.map(dnsName))),
    ...shared,
  ];
}

/** Whoever trusts the authority trusts it for these domains only: no other name, and no address at all. */
function nameConstraints(permitted: readonly string[]): Buffer {
  const anyIp4 = implicit(7, Buffer.alloc(8));
  const anyIp6 = implicit(7, Buffer.alloc(32));
  return sequence(
    tagged(0, ...permitted.map((domain) => sequence(dnsName(domain)))),
    tagged(1, sequence(anyIp4), sequence(anyIp6)),
  );
}

function dnsName(text: string): Buffer {
  return implicit(2, Buffer.from(text, "latin1"));
}

function extension(id: string, value: Buffer): Buffer {
  return sequence(oid(id), octets(value));
}

function critical(id: string, value: Buffer): Buffer {
  return sequence(oid(id), yes(), octets(value));
}

function keyId(key: KeyObject): Buffer {
  return createHash("sha1")
    .update(key.export({ type: "spki", format: "der" }))
    .digest();
}
