import { rm } from "node:fs/promises";
import { AppError } from "../../core/errors.ts";
import { wireCommands } from "./guard.ts";
import type { CommandQueue } from "./commands.ts";
import { writeCommonFiles, type NamespaceFiles } from "./machine-files.ts";
import { buildNamespace, type Vacancy } from "./namespace.ts";
import type { Wires } from "./wires.ts";

/** Namespaces that are built at the same time. More only wait for the kernel's own lock on interfaces. */
const BUILDS = 4;

/** Milliseconds without a demand before new ones are built. */
const REFILL_AFTER = 300;

export interface Built {
  readonly vacancy: Vacancy;
  readonly files: NamespaceFiles;
}

/**
 * Namespaces for Machines to come. To build one takes 20 to 40 ms, to move in a few: so that the first wake of a Machine
 * does not pay for it, some are kept ready, and built anew once nobody waits.
 */
export class Vacancies {
  readonly #wires: Wires;
  readonly #commands: CommandQueue;
  readonly #pingGroups: string;
  readonly #spare: number;
  readonly #ready: Built[] = [];
  readonly #waiting: (() => void)[] = [];
  #refillTimer: NodeJS.Timeout | undefined;
  #building = 0;
  #refilling = 0;
  #closed = false;

  /** `spare`: how many are kept ready, each with a waiting shell. */
  constructor(wires: Wires, commands: CommandQueue, pingGroups: string, spare: number) {
    this.#spare = spare;
    this.#wires = wires;
    this.#commands = commands;
    this.#pingGroups = pingGroups;
  }

  /** A ready one, or a new one. @errors internal, exhausted */
  async take(): Promise<Built> {
    const built = this.#ready.shift() ?? (await this.#build());
    this.#refillTimer?.refresh();
    // Later: whoever moved in just now has a program to start, and needs the processor for it.
    this.#refillTimer ??= setTimeout(() => this.refill(), REFILL_AFTER).unref();
    return built;
  }

  /** Builds up to the number that is kept ready, in the background. */
  refill(): void {
    this.#refillTimer = undefined;
    if (this.#closed || this.#waiting.length > 0) return;
    while (this.#ready.length + this.#refilling < this.#spare) {
      this.#refilling++;
      // A failure shows when somebody needs one.
      void this.#build()
        .then((built) => (this.#closed ? discard(built) : this.#ready.push(built)))
        .catch(() => undefined)
        .finally(() => this.#refilling--);
    }
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#refillTimer);
    for (const built of this.#ready.splice(0)) discard(built);
  }

  async #build(): Promise<Built> {
    await this.#slot();
    try {
      if (this.#closed) throw new AppError("internal", "the network is being taken down");
      return await this.#buildNow();
    } finally {
      this.#building--;
      this.#waiting.shift()?.();
    }
  }

  async #buildNow(): Promise<Built> {
    const wire = this.#wires.take();
    try {
      const files = await writeCommonFiles(wire.name);
      const vacancy = await buildNamespace(wire, files.binds, this.#pingGroups);
      try {
        await this.#commands.apply(wireCommands(wire));
      } catch (error) {
        vacancy.discard();
        throw error;
      }
      return { vacancy, files };
    } catch (error) {
      this.#wires.giveBack(wire);
      throw error;
    }
  }

  async #slot(): Promise<void> {
    while (this.#building >= BUILDS) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#building++;
  }
}

/** The link goes with the namespace, and the files are in the lab's own memory. */
export function discard(built: Built): void {
  built.vacancy.discard();
  rm(built.files.folder, { recursive: true, force: true }).catch(() => undefined);
}
