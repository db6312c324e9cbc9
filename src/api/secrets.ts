import { createHmac, randomBytes } from "node:crypto";
import { mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/errors.ts";
import { parseAppName, type AppName } from "../core/ids.ts";
import { systemCode, writeFileDurably } from "../registry/stores/durable-files.ts";

/** What may be told of a secret: never its value. Times are RFC 3339. */
export interface SecretInfo {
  readonly name: string;
  /** Equal values of one app have equal digests, and a digest helps nobody to guess a value. */
  readonly digest: string;
  readonly created_at: string;
  readonly updated_at: string;
}

interface Stored {
  readonly version: number;
  /** Hex; keys the digests. */
  readonly salt: string;
  readonly secrets: Readonly<
    Record<string, { readonly value: string; readonly created: string; readonly updated: string }>
  >;
}

const NAME = /^[A-Za-z_][A-Za-z0-9_]{0,127}$/;
const LONGEST_VALUE = 64 * 1024;
const MOST_SECRETS = 256;

/**
 * Secrets of apps, one file an app in the state folder's `keys/secrets`, for its owner's eyes only (0600). Neither the
 * catalogue nor a log ever sees a value; Machines get them in their environment at the next start.
 */
export class Secrets {
  readonly #folder: string;
  readonly #clock: Clock;
  /** One change after the other. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(stateDir: string, clock: Clock) {
    this.#folder = join(stateDir, "keys", "secrets");
    this.#clock = clock;
  }

  /** For the environment of a Machine. @errors PM02 when the file cannot be read */
  async values(app: AppName): Promise<Readonly<Record<string, string>>> {
    const { secrets } = await this.#read(app).catch((cause: unknown) => {
      throw new AppError("PM02", `the secrets of app "${app}" cannot be read`, { cause });
    });
    return Object.fromEntries(Object.entries(secrets).map(([name, { value }]) => [name, value]));
  }

  /** In order of their names, and the number of the last change. */
  async list(app: AppName): Promise<{ readonly version: number; readonly secrets: readonly SecretInfo[] }> {
    const stored = await this.#read(app);
    const secrets = Object.entries(stored.secrets)
      .map(([name, { value, created, updated }]) => ({
        name,
        digest: createHmac("sha256", Buffer.from(stored.salt, "hex")).update(value).digest("hex").slice(0, 16),
        created_at: created,
        updated_at: updated,
      }))
      .toSorted((a, b) => (a.name < b.name ? -1 : 1));
    return { version: stored.version, secrets };
  }

  /** Sets values, and takes away those that are null. On the disk when it resolves. @errors invalid */
  change(app: AppName, values: Readonly<Record<string, string | null>>): Promise<void> {
    for (const [name, value] of Object.entries(values)) {
      if (!NAME.test(name))
        throw new AppError("invalid", `"${name.slice(0, 64)}" is not the name of a secret: letters, digits and _`);
      if (name.startsWith("FLY_"))
        throw new AppError("invalid", `${name}: names that start with FLY_ belong to the platform`);
      if (value !== null && (value.includes("\0") || value.length > LONGEST_VALUE))
        throw new AppError("invalid", `${name}: a value has at most ${LONGEST_VALUE} characters and no zero byte`);
    }
    return this.#inTurn(async () => {
      const before = await this.#read(app);
      const now = new Date(this.#clock.wall()).toISOString();
      const secrets = new Map(Object.entries(before.secrets));
      for (const [name, value] of Object.entries(values)) {
        if (value === null) secrets.delete(name);
        else secrets.set(name, { value, created: secrets.get(name)?.created ?? now, updated: now });
      }
      if (secrets.size > MOST_SECRETS) throw new AppError("invalid", `an app has at most ${MOST_SECRETS} secrets`);
      const after: Stored = { version: before.version + 1, salt: before.salt, secrets: Object.fromEntries(secrets) };
      await mkdir(this.#folder, { recursive: true, mode: 0o700 });
      await writeFileDurably(this.#file(app), JSON.stringify(after), 0o600);
    });
  }

  /** An app of the same name, later, starts without them. */
  forget(app: AppName): Promise<void> {
    return this.#inTurn(() => rm(this.#file(app), { force: true }));
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => undefined);
    return done;
  }

  /** App names are DNS labels, so that none can lead out of the folder. */
  #file(app: AppName): string {
    if (!parseAppName(app).ok) throw new AppError("invalid", "not an app name");
    return join(this.#folder, `${app}.json`);
  }

  async #read(app: AppName): Promise<Stored> {
    try {
      return JSON.parse(await readFile(this.#file(app), "utf8")) as Stored;
    } catch (thrown) {
      if (systemCode(thrown) !== "ENOENT") throw thrown;
      return { version: 0, salt: randomBytes(16).toString("hex"), secrets: {} };
    }
  }
}
