import { open, type FileHandle } from "node:fs/promises";
import { dirname, join } from "node:path";
import { syncFolder, writeAll } from "./durable-files.ts";
import { frame } from "./frame.ts";

/** Version of the files in the catalogue's folder. A newer one is refused, never guessed at. */
export const FORMAT = 1;

const NAME = /^journal-(\d{16})\.log$/;

/** `journal-0000000000000042.log` holds the records from number 42 on. */
export function journalName(from: number): string {
  return `journal-${String(from).padStart(16, "0")}.log`;
}

/** The number of the first record of a journal, from its name; undefined for other files. */
export function journalFrom(name: string): number | undefined {
  const digits = NAME.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** The first line of a journal. */
export function journalHeader(from: number): string {
  return frame(JSON.stringify({ flycast: "journal", format: FORMAT, from }));
}

/**
 * The end of a journal, where records are added. Whoever calls waits for one `append` before the next.
 * After a failed write the file is cut back to its last good byte and can go on. After a failed sync it cannot: the kernel
 * reports such a failure once and then forgets the pages, so nobody knows what is on the disk ("fsyncgate", 2018).
 */
export class JournalWriter {
  readonly path: string;
  readonly #handle: FileHandle;
  #length: number;
  #broken: unknown;

  private constructor(path: string, handle: FileHandle, length: number) {
    this.path = path;
    this.#handle = handle;
    this.#length = length;
  }

  /** A new journal, itself durable before the first record is. */
  static async create(folder: string, from: number): Promise<JournalWriter> {
    const path = join(folder, journalName(from));
    const header = Buffer.from(journalHeader(from));
    // "w": a journal of that name holds no record that counts, or it would have been continued.
    const handle = await open(path, "w", 0o600);
    try {
      await writeAll(handle, header, 0);
      await handle.sync();
      await syncFolder(dirname(path));
    } catch (thrown) {
      await handle.close();
      throw thrown;
    }
    return new JournalWriter(path, handle, header.length);
  }

  /** Goes on at the end of a journal, which the recovery has made sure is a good one. */
  static async resume(path: string, length: number): Promise<JournalWriter> {
    return new JournalWriter(path, await open(path, "r+"), length);
  }

  get length(): number {
    return this.#length;
  }

  /** Resolves when the bytes are on the disk. When it rejects, none of them count. */
  async append(frames: string): Promise<void> {
    if (this.#broken !== undefined) throw this.#broken;
    const data = Buffer.from(frames);
    try {
      await writeAll(this.#handle, data, this.#length);
    } catch (thrown) {
      await this.#handle.truncate(this.#length).catch((cause: unknown) => {
        this.#broken = cause;
      });
      throw thrown;
    }
    try {
      // Enough: fdatasync also writes the file's new length, without which the data could not be read.
      await this.#handle.datasync();
    } catch (thrown) {
      this.#broken = thrown;
      throw thrown;
    }
    this.#length += data.length;
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}
