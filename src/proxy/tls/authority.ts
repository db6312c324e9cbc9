import { createPrivateKey, createPublicKey, generateKeyPairSync, X509Certificate, type KeyObject } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { toAppError } from "../../core/errors.ts";
import { makeCertificate } from "./x509.ts";

/** A server certificate with its chain and key, PEM. */
export interface KeyPair {
  readonly cert: string;
  readonly key: string;
  readonly notAfter: Date;
}

const DAY_MS = 86_400_000;
const AUTHORITY_DAYS = 730;
const SERVER_DAYS = 90;
/** An authority with less left is made anew, so that no certificate of its ends while it is in use. */
const LAST_DAYS = 7;
const DOMAINS = ["flycast", "internal"];

/**
 * The local authority that signs certificates for `.flycast` and `.internal` names, and can sign no others. A user trusts
 * it once. `key` and certificate are files of the state folder; without a folder it lasts as long as the process.
 */
export class Authority {
  /** The authority's own certificate, PEM: what `flycast ca` prints. */
  readonly cert: string;
  readonly #privateKey: KeyObject;
  readonly #publicKey: KeyObject;
  readonly #certificate: X509Certificate;

  constructor(cert: string, key: string) {
    this.cert = cert;
    this.#certificate = new X509Certificate(cert);
    this.#privateKey = createPrivateKey(key);
    this.#publicKey = createPublicKey(this.#privateKey);
  }

  get notAfter(): Date {
    return new Date(this.#certificate.validTo);
  }

  get belongsTogether(): boolean {
    return this.#certificate.checkPrivateKey(this.#privateKey);
  }

  /** A certificate for a server of these names, valid from an hour ago (clocks differ) for 90 days. */
  issue(names: readonly string[], now: Date): KeyPair {
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const notAfter = new Date(Math.min(now.getTime() + SERVER_DAYS * DAY_MS, this.notAfter.getTime()));
    const cert = makeCertificate({
      subject: names[0] ?? "flycast",
      publicKey,
      notBefore: new Date(now.getTime() - 3_600_000),
      notAfter,
      issuer: { subject: SUBJECT, publicKey: this.#publicKey, privateKey: this.#privateKey },
      kind: { type: "server", names },
    });
    return { cert: cert + this.cert, key: pem(privateKey), notAfter };
  }
}

const SUBJECT = "Flycast local authority";

/**
 * Reads the authority of a state folder, or makes it: `ca.key` (0600) and `ca.crt`. One that has nearly run out is
 * replaced. @errors state_damaged when the files are there and cannot be read
 */
export function loadAuthority(folder: string, now: Date): Authority {
  const files = { key: join(folder, "ca.key"), cert: join(folder, "ca.crt") };
  const found = readAuthority(files);
  if (found !== undefined && found.notAfter.getTime() - now.getTime() > LAST_DAYS * DAY_MS) return found;
  const made = makeAuthority(now);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  // The key first: a certificate without its key would be trusted and useless.
  writeWhole(files.key, made.key);
  writeWhole(files.cert, made.cert);
  return new Authority(made.cert, made.key);
}

/** An authority that nothing keeps. */
export function temporaryAuthority(now: Date): Authority {
  const made = makeAuthority(now);
  return new Authority(made.cert, made.key);
}

function makeAuthority(now: Date): { readonly cert: string; readonly key: string } {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const cert = makeCertificate({
    subject: SUBJECT,
    publicKey,
    notBefore: new Date(now.getTime() - 3_600_000),
    notAfter: new Date(now.getTime() + AUTHORITY_DAYS * DAY_MS),
    issuer: { subject: SUBJECT, publicKey, privateKey },
    kind: { type: "authority", permitted: DOMAINS },
  });
  return { cert, key: pem(privateKey) };
}

function readAuthority(files: { readonly key: string; readonly cert: string }): Authority | undefined {
  let cert: string;
  let key: string;
  try {
    cert = readFileSync(files.cert, "utf8");
    key = readFileSync(files.key, "utf8");
  } catch (thrown) {
    if (thrown instanceof Error && "code" in thrown && thrown.code === "ENOENT") return undefined;
    throw toAppError(thrown, "state_damaged");
  }
  try {
    const authority = new Authority(cert, key);
    // The write of a new pair was interrupted between its two files.
    return authority.belongsTogether ? authority : undefined;
  } catch (thrown) {
    throw toAppError(thrown, "state_damaged");
  }
}

function writeWhole(path: string, text: string): void {
  const temporary = `${path}.new`;
  writeFileSync(temporary, text, { mode: 0o600, flush: true });
  renameSync(temporary, path);
}

function pem(key: KeyObject): string {
  return key.export({ type: "pkcs8", format: "pem" }).toString();
}
