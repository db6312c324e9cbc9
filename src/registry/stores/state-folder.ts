import { chmod, mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { AppError } from "../../core/errors.ts";
import type { HostId } from "../../core/ids.ts";
import { fileError, syncFolder, systemCode, writeFileDurably } from "./durable-files.ts";

type Random = (bytes: number) => Uint8Array;

/** Where things lie in a state folder. */
export const STATE = { token: "token", host: "host", keys: "keys", catalogue: "catalogue", lock: "lock" } as const;

/**
 * Makes the folder with what every state folder holds: nobody else may look (0700), `keys/` and `catalogue/` inside, and
 * a `.gitignore` that keeps all of it out of repositories.
 * @errors no_privilege
 */
export async function prepareStateFolder(dir: string): Promise<void> {
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const { mode, uid } = await stat(dir);
    // A sticky folder is shared by design (/tmp): closing it would break the computer for others.
    const isOurs = uid === process.getuid?.() && (mode & 0o1000) === 0;
    if (isOurs && (mode & 0o077) !== 0) await chmod(dir, 0o700);
    for (const name of [STATE.keys, STATE.catalogue, STATE.lock]) {
      await mkdir(join(dir, name), { recursive: true, mode: 0o700 });
    }
    await writeFile(join(dir, ".gitignore"), "*\n", { flag: "wx" }).catch((thrown: unknown) => {
      if (systemCode(thrown) !== "EEXIST") throw thrown;
    });
    await syncFolder(dir);
  } catch (thrown) {
    throw fileError(`the state folder ${dir} cannot be used`, thrown);
  }
}

/** Makes the administrator's token at the first open; later it only makes sure that nobody else can read it. */
export async function ensureToken(dir: string, random: Random): Promise<void> {
  const path = join(dir, STATE.token);
  if ((await readIfThere(path))?.trim()) {
    await chmod(path, 0o600);
    return;
  }
  await writeFileDurably(path, `fct_${Buffer.from(random(32)).toString("base64url")}\n`, 0o600);
}

/** The administrator's token of a state folder. @errors not_found, no_privilege */
export async function readToken(dir: string): Promise<string> {
  const token = (await readIfThere(join(dir, STATE.token)))?.trim();
  if (!token) throw new AppError("not_found", `there is no token in ${dir}: no node has run there yet`);
  return token;
}

/** This computer's number, drawn at the first open and kept. */
export async function ensureHost(dir: string, random: Random): Promise<HostId> {
  const path = join(dir, STATE.host);
  const kept = /^([0-9a-f]{8})\n?$/.exec((await readIfThere(path)) ?? "")?.[1];
  if (kept !== undefined && isHostId(Number.parseInt(kept, 16))) return Number.parseInt(kept, 16) as HostId;
  for (let i = 0; i < 64; i++) {
    const drawn = Buffer.from(random(4)).readUInt32BE(0);
    if (!isHostId(drawn)) continue;
    await writeFileDurably(path, `${drawn.toString(16).padStart(8, "0")}\n`, 0o600);
    return drawn as HostId;
  }
  throw new AppError("exhausted", "no host id could be drawn");
}

/**
 * Any 32 bits, but for what means something else in an address: 0:… holds Flycast and DNS addresses, a7b:… peers.
 */
export function isHostId(value: number): boolean {
  const high = value >>> 16;
  return Number.isInteger(value) && value >= 0x1_0000 && value <= 0xffff_ffff && high !== 0x0a7b;
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (thrown) {
    if (systemCode(thrown) === "ENOENT") return undefined;
    throw fileError(`${path} cannot be read`, thrown);
  }
}
