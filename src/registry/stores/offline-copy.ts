import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Clock, Timer } from "../../core/clock.ts";
import { ms } from "../../core/units.ts";
import { Catalogue } from "../catalogue.ts";
import { readFrames } from "./frame.ts";
import { readSnapshot, removeFile, snapshotSeq, writeSnapshot } from "./snapshot.ts";

const EVERY = ms(60_000);

/**
 * What a node last knew of a shared registry, on its own disk, so that it can start and serve while the registry is away.
 * At most a minute old; what changed since comes from the registry when it is back.
 */
export class OfflineCopy {
  readonly #folder: string;
  readonly #clock: Clock;
  readonly #onNotice: (message: string) => void;
  #savedSeq = -1;
  #stopped = false;
  #timer: Timer | undefined;
  #saving: Promise<void> = Promise.resolve();

  constructor(folder: string, clock: Clock, onNotice: (message: string) => void) {
    this.#folder = folder;
    this.#clock = clock;
    this.#onNotice = onNotice;
  }

  /** The newest copy that is whole; undefined when there is none. */
  async load(): Promise<{ readonly catalogue: Catalogue; readonly seq: number } | undefined> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    for (const seq of await this.#saved()) {
      const events = readSnapshot(readFrames(await readFile(join(this.#folder, seq.name))));
      if (events === undefined) continue;
      const catalogue = new Catalogue();
      for (const event of events) catalogue.apply(event);
      return { catalogue, seq: seq.seq };
    }
    return undefined;
  }

  /** Saves now and then, from here on. */
  keep(catalogue: Catalogue, seq: () => number): void {
    if (this.#stopped) return;
    this.#timer = this.#clock.after(EVERY, () => {
      void this.save(catalogue, seq()).then(() => this.keep(catalogue, seq));
    });
  }

  save(catalogue: Catalogue, seq: number): Promise<void> {
    this.#saving = this.#saving.then(() => this.#save(catalogue, seq));
    return this.#saving;
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  async #save(catalogue: Catalogue, seq: number): Promise<void> {
    if (seq === this.#savedSeq) return;
    try {
      await mkdir(this.#folder, { recursive: true, mode: 0o700 });
      await writeSnapshot(this.#folder, seq, catalogue.toEvents());
      this.#savedSeq = seq;
      for (const old of await this.#saved()) if (old.seq !== seq) await removeFile(this.#folder, old.name);
    } catch (thrown) {
      this.#onNotice(`the copy of the registry in ${this.#folder} could not be written: ${String(thrown)}`);
    }
  }

  async #saved(): Promise<readonly { readonly name: string; readonly seq: number }[]> {
    return (await readdir(this.#folder))
      .map((name) => ({ name, seq: snapshotSeq(name) }))
      .filter((entry): entry is { name: string; seq: number } => entry.seq !== undefined)
      .toSorted((a, b) => b.seq - a.seq);
  }
}
