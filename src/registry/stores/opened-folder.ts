import { realpath } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../../core/clock.ts";
import { AppError } from "../../core/errors.ts";
import type { HostId } from "../../core/ids.ts";
import { fileError } from "./durable-files.ts";
import { lockFolder } from "./lock.ts";
import { ensureHost, ensureToken, isHostId, prepareStateFolder, STATE } from "./state-folder.ts";

/** A state folder that is ours alone until it is closed. */
export interface OpenedFolder {
  /** Real path. */
  readonly dir: string;
  readonly host: HostId;
  close(): Promise<void>;
}

export interface StateFolderOptions {
  /** The state folder. Made, with all that belongs in it, when it is not there. */
  readonly dir: string;
  readonly clock: Clock;
  /** Unpredictable bytes: tokens and ids are made of them. */
  readonly random: (bytes: number) => Uint8Array;
  /** The host that Machines made here belong to. @default drawn at the first open and kept in the state folder */
  readonly host?: HostId | undefined;
}

/** @errors state_locked, no_privilege, invalid */
export async function openStateFolder(options: StateFolderOptions): Promise<OpenedFolder> {
  if (options.host !== undefined && !isHostId(options.host)) {
    throw new AppError(
      "invalid",
      `${options.host} is not a host id: it would give Machines the addresses of other things`,
    );
  }
  await prepareStateFolder(options.dir);
  const dir = await realpath(options.dir);
  const lock = await lockFolder(join(dir, STATE.lock), {
    name: Buffer.from(options.random(8)).toString("hex"),
    now: new Date(options.clock.wall()).toISOString(),
    what: `the state folder ${options.dir}`,
  }).catch((thrown: unknown) => {
    throw fileError(`the state folder ${options.dir} cannot be locked`, thrown);
  });
  try {
    await ensureToken(dir, options.random);
    const host = options.host ?? (await ensureHost(dir, options.random));
    return { dir, host, close: () => lock.release() };
  } catch (thrown) {
    await lock.release();
    throw fileError(`the state folder ${options.dir} cannot be used`, thrown);
  }
}
