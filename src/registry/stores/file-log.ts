import { readdir } from "node:fs/promises";
import type { Catalogue } from "../catalogue.ts";
import type { RecordLog } from "../command-queue.ts";
import type { CatalogueEvent } from "../events.ts";
import { fileError } from "./durable-files.ts";
import { frame } from "./frame.ts";
import { journalFrom, JournalWriter } from "./journal.ts";
import type { Recovered } from "./recovery.ts";
import { removeFile, snapshotSeq, writeSnapshot } from "./snapshot.ts";

const SNAPSHOT_AFTER = 1024 * 1024;

export interface FileLogOptions {
  /** A snapshot is written when the journal is longer than this, in bytes, and than twice the last one. @default 1 MiB */
  readonly snapshotAfter?: number;
  onNotice(message: string): void;
}

/** Records in a journal on disk. When it has grown long, the catalogue goes into a snapshot, and old journals go. */
export class FileLog implements RecordLog {
  readonly #folder: string;
  readonly #catalogue: Catalogue;
  readonly #options: FileLogOptions;
  #journal: JournalWriter;
  #seq: number;
  #snapshotAt: number;
  #snapshotting: Promise<void> | undefined;

  constructor(folder: string, recovered: Recovered, options: FileLogOptions) {
    this.#folder = folder;
    this.#catalogue = recovered.catalogue;
    this.#journal = recovered.journal;
    this.#seq = recovered.seq;
    this.#options = options;
    this.#snapshotAt = options.snapshotAfter ?? SNAPSHOT_AFTER;
  }

  async append(records: readonly string[], after: number): Promise<"durable"> {
    if (records.length === 0) return "durable";
    try {
      await this.#journal.append(records.map(frame).join(""));
    } catch (thrown) {
      const error = fileError(`the change could not be written to ${this.#journal.path}`, thrown);
      this.#options.onNotice(error.message);
      throw error;
    }
    this.#seq = after + records.length;
    return "durable";
  }

  async catchUp(): Promise<void> {
    // Nobody else writes: the folder is locked.
  }

  /** The journal changes here, between two batches; the snapshot itself is written while commands go on. */
  async settled(): Promise<void> {
    if (this.#journal.length < this.#snapshotAt || this.#snapshotting !== undefined) return;
    try {
      const next = await JournalWriter.create(this.#folder, this.#seq + 1);
      const full = this.#journal;
      this.#journal = next;
      await full.close();
    } catch (thrown) {
      this.#snapshotAt *= 2;
      this.#options.onNotice(fileError("no new journal could be begun", thrown).message);
      return;
    }
    this.#snapshotting = this.#snapshot(this.#seq, this.#catalogue.toEvents()).finally(() => {
      this.#snapshotting = undefined;
    });
  }

  async close(): Promise<void> {
    await this.#snapshotting;
    await this.#journal.close();
  }

  async #snapshot(seq: number, events: readonly CatalogueEvent[]): Promise<void> {
    try {
      const length = await writeSnapshot(this.#folder, seq, events);
      this.#snapshotAt = Math.max(this.#options.snapshotAfter ?? SNAPSHOT_AFTER, 2 * length);
      await prune(this.#folder);
    } catch (thrown) {
      // Nothing is lost: the journals are all there. The next one is tried when this one has grown.
      this.#options.onNotice(fileError(`the snapshot of ${this.#folder} failed`, thrown).message);
    }
  }
}

/** Keeps the two newest snapshots and every record after the older one: if the newest is damaged, nothing is lost. */
async function prune(folder: string): Promise<void> {
  const names = await readdir(folder);
  const snapshots = names.map(snapshotSeq).filter((seq) => seq !== undefined);
  const kept = snapshots.toSorted((a, b) => b - a).slice(0, 2);
  const oldest = kept[1];
  if (oldest === undefined) return;
  const starts = names
    .map(journalFrom)
    .filter((from) => from !== undefined)
    .toSorted((a, b) => a - b);
  for (const name of names) {
    const seq = snapshotSeq(name);
    if (seq !== undefined && seq < oldest) await removeFile(folder, name);
    const from = journalFrom(name);
    const nextFrom = from === undefined ? undefined : starts.find((start) => start > from);
    if (nextFrom !== undefined && nextFrom - 1 <= oldest) await removeFile(folder, name);
  }
}
