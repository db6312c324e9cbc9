import { readFileSync } from "node:fs";
import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Clock, Timer } from "../../core/clock.ts";
import { parseMachineId, type MachineId } from "../../core/ids.ts";
import { ms } from "../../core/units.ts";
import type { LastKnown, MachineMemory } from "../memory.ts";

const NAME = "state.json";
/** A Machine that wakes and sleeps again in between is one write; and a wake has its disk to itself. */
const LATER = ms(250);

/** One small file a Machine, beside its output; gone with it when it is destroyed. Not synced. */
export class StateFiles implements MachineMemory {
  readonly #folder: string;
  readonly #clock: Clock;
  readonly #pending = new Map<MachineId, LastKnown>();
  #timer: Timer | undefined;
  #writing: Promise<void> = Promise.resolve();

  /** `stateDir`: that of the process driver, whose folders hold the files. */
  constructor(stateDir: string, clock: Clock) {
    this.#folder = join(stateDir, "machines");
    this.#clock = clock;
  }

  recall(id: MachineId): LastKnown | undefined {
    try {
      return parseLastKnown(JSON.parse(readFileSync(join(this.#folder, id, NAME), "utf8")));
    } catch {
      return undefined; // there is none, or nobody can read it
    }
  }

  note(id: MachineId, known: LastKnown): void {
    this.#pending.set(id, known);
    this.#timer ??= this.#clock.after(LATER, () => this.#flush());
  }

  /** Resolves when everything that was noted is written. */
  async close(): Promise<void> {
    this.#flush();
    await this.#writing;
  }

  #flush(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const batch = [...this.#pending];
    this.#pending.clear();
    // One batch after the other: two writes of one file must not meet.
    this.#writing = this.#writing.then(async () => {
      for (const [id, known] of batch) await this.#write(id, known).catch(() => undefined); // it was destroyed meanwhile
    });
  }

  /** Written beside and renamed, so that a reader never sees half of it. The folder is there if the Machine ever ran. */
  async #write(id: MachineId, known: LastKnown): Promise<void> {
    if (!parseMachineId(id).ok) return;
    const path = join(this.#folder, id, NAME);
    await writeFile(`${path}.new`, JSON.stringify(known), { mode: 0o600 });
    await rename(`${path}.new`, path);
  }
}

const STATES: ReadonlySet<unknown> = new Set<LastKnown["state"]>(["started", "suspended", "stopped", "failed"]);

/** Our own writing, but perhaps another version's, or damaged. */
function parseLastKnown(value: unknown): LastKnown | undefined {
  const known = value as Partial<LastKnown> | null;
  if (known === null || typeof known !== "object" || !STATES.has(known.state)) return undefined;
  if (typeof known.because !== "string" || !Number.isSafeInteger(known.generation)) return undefined;
  const times = [known.since, known.lastExit?.at ?? 0, known.lastFailure?.at ?? 0];
  if (!times.every((time) => typeof time === "number" && Number.isFinite(time))) return undefined;
  return { ...known, lastExit: known.lastExit, lastFailure: known.lastFailure } as LastKnown;
}
