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

export interface VacancyOptions {
  readonly wires: Wires;
  readonly commands: CommandQueue;
  /** For `ping_group_range`. */
  readonly pingGroups: string;
  /** Whether there is a way out of the core's namespace. */
  readonly exit: boolean;
  /** Folder for the files of all namespaces. */
  readonly places: string;
  /** How many are kept ready, each with a waiting shell. */
  readonly spare: number;
}

/**
 * Namespaces for Machines to come. To build one takes 20 to 40 ms, to move in a few: so that the first wake of a Machine
 * does not pay for it, some are kept ready, and built anew once nobody waits.
 */
export class Vacancies {
  readonly #wires: Wires;
  readonly #commands: CommandQueue;
  readonly #pingGroups: string;
  readonly #exit: boolean;
  readonly #places: string;
  readonly #spare: number;
  readonly #ready: Built[] = [];
  readonly #takers: { readonly resolve: (built: Built) => void; readonly reject: (error: unknown) => void }[] = [];
  readonly #waiting: (() => void)[] = [];
  #underWay = 0;
  #refillTimer: NodeJS.Timeout | undefined;
  #building = 0;
  #closed = false;

  constructor(options: VacancyOptions) {
    this.#spare = options.spare;
    this.#wires = options.wires;
    this.#commands = options.commands;
    this.#pingGroups = options.pingGroups;
    this.#exit = options.exit;
    this.#places = options.places;
  }

  /** A ready one, or the next that is built. @errors internal, exhausted */
  async take(): Promise<Built> {
    clearTimeout(this.#refillTimer);
    // Later: whoever moves in now has a program to start, and needs the processor for it.
    this.#refillTimer = setTimeout(() => this.refill(), REFILL_AFTER).unref();
    const ready = this.#ready.shift();
    if (ready !== undefined) return ready;
    return new Promise((resolve, reject) => {
      this.#takers.push({ resolve, reject });
      if (this.#underWay < this.#takers.length) this.#build();
    });
  }

  /** Builds up to the number that is kept ready, in the background. */
  refill(): void {
    // Those that somebody waits for will not be kept.
    const toKeep = Math.max(0, this.#underWay - this.#takers.length);
    for (let missing = this.#spare - this.#ready.length - toKeep; missing > 0; missing--) this.#build();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#refillTimer);
    for (const built of this.#ready.splice(0)) discard(built);
  }

  /** Builds one for whoever waits longest, or to keep. A failure goes to one who waits, and shows later if nobody does. */
  #build(): void {
    this.#underWay++;
    this.#inTurn()
      .finally(() => this.#underWay--)
      .then(
        (built) => {
          const taker = this.#takers.shift();
          if (taker !== undefined) taker.resolve(built);
          else if (this.#closed) discard(built);
          else this.#ready.push(built);
        },
        (error: unknown) => this.#takers.shift()?.reject(error),
      );
  }

  async #inTurn(): Promise<Built> {
    while (this.#building >= BUILDS) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#building++;
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
      const files = await writeCommonFiles(this.#places, wire.name);
      const vacancy = await buildNamespace(wire, files.binds, this.#pingGroups, this.#exit);
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
}

/** The link goes with the namespace, and the files are in the lab's own memory. */
export function discard(built: Built): void {
  built.vacancy.discard();
  rm(built.files.folder, { recursive: true, force: true }).catch(() => undefined);
}
