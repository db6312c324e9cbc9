/** Curve25519 keys in the form of WireGuard's own tools: 32 bytes in base64. */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { AppError } from "../../core/errors.ts";

export interface WireGuardKeys {
  /** Secret: never logged, never sent. */
  readonly privateKey: string;
  readonly publicKey: string;
}

/** PKCS #8 of a Curve25519 key before its 32 bytes (RFC 8410, section 7). */
const PKCS8_PREFIX = Buffer.from("302e020100300506032b656e04220420", "hex");

export function generateKeys(): WireGuardKeys {
  const { privateKey } = generateKeyPairSync("x25519");
  return { privateKey: rawText(privateKey, "d"), publicKey: rawText(createPublicKey(privateKey), "x") };
}

/** @errors invalid unless it is 32 bytes in base64 */
export function publicKeyOf(privateKey: string): string {
  const bytes = Buffer.from(privateKey, "base64");
  if (bytes.length !== 32) throw new AppError("invalid", "a WireGuard key is 32 bytes in base64");
  const key = createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, bytes]), format: "der", type: "pkcs8" });
  return rawText(createPublicKey(key), "x");
}

export interface GatewayKey {
  /** The file that holds the private key, as `wg set … private-key` reads it. */
  readonly file: string;
  readonly publicKey: string;
}

/** The gateway's own key: made once, kept in the state folder, readable by its owner alone. */
export async function gatewayKey(stateDir: string): Promise<GatewayKey> {
  const folder = join(stateDir, "keys");
  const file = join(folder, "wireguard.key");
  const kept = await readFile(file, "utf8").catch((thrown: NodeJS.ErrnoException) => {
    if (thrown.code === "ENOENT") return undefined;
    throw new AppError("state_damaged", `${file} cannot be read: ${thrown.message}`, { cause: thrown });
  });
  if (kept !== undefined) {
    await chmod(file, 0o600);
    try {
      return { file, publicKey: publicKeyOf(kept.trim()) };
    } catch (cause) {
      // A new key would lock out every client that has the old one, so that is for a person to decide.
      throw new AppError("state_damaged", `${file} holds no WireGuard key`, { cause });
    }
  }
  const made = generateKeys();
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeFile(file, `${made.privateKey}\n`, { mode: 0o600, flag: "wx" });
  return { file, publicKey: made.publicKey };
}

function rawText(key: KeyObject, part: "d" | "x"): string {
  return Buffer.from(key.export({ format: "jwk" })[part] ?? "", "base64url").toString("base64");
}
