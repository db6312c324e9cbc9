import { join } from "node:path";
import { createCatalogueRegistry, type HostRegistry } from "./catalogue-registry.ts";
import { fileError } from "./durable-files.ts";
import { FileLog } from "./file-log.ts";
import { openStateFolder, type StateFolderOptions } from "./opened-folder.ts";
import { recover } from "./recovery.ts";
import { STATE } from "./state-folder.ts";

export interface FileRegistryOptions extends StateFolderOptions {
  /** Told, in a sentence for people, of recoveries, failed snapshots and listeners that threw. */
  readonly onNotice: (message: string) => void;
  /** A snapshot is written when the journal is longer than this, in bytes, and than twice the last one. @default 1 MiB */
  readonly snapshotAfter?: number;
}

/** The registry of one process. */
export type FileRegistry = HostRegistry;

/**
 * The registry of one process, in a folder: every command is in a journal and on the disk before it is answered. Commands
 * that come while the disk is busy share the next sync.
 * @errors state_locked, state_newer, state_damaged, no_privilege
 */
export async function openFileRegistry(options: FileRegistryOptions): Promise<FileRegistry> {
  const { clock, random, onNotice } = options;
  const folder = await openStateFolder(options);
  try {
    const path = join(folder.dir, STATE.catalogue);
    const stamp = new Date(clock.wall()).toISOString().replaceAll(/[:.]/g, "");
    const recovered = await recover(path, { stamp, onNotice });
    const log = new FileLog(path, recovered, options);
    try {
      return await createCatalogueRegistry({
        catalogue: recovered.catalogue,
        seq: recovered.seq,
        host: folder.host,
        clock,
        random,
        onNotice,
        log: () => log,
        close: async () => {
          try {
            await log.close();
          } finally {
            await folder.close();
          }
        },
      });
    } catch (thrown) {
      await log.close();
      throw thrown;
    }
  } catch (thrown) {
    await folder.close();
    throw fileError(`the state folder ${options.dir} cannot be used`, thrown);
  }
}
