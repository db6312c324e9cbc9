import type { Clock, Timer } from "../core/clock.ts";
import type { MachineId } from "../core/ids.ts";
import type { Monotonic } from "../core/units.ts";
import { decide, type AutostopGroup, type AutostopVerdict } from "./autostop.ts";
import type { AutostopSettings } from "./machines.ts";

export interface AutostopLoopOptions {
  readonly clock: Clock;
  /** The running Machines as they are now. */
  groups(): readonly AutostopGroup[];
  /** What the owner of the Machine is asked to do; it may refuse, for the decision is older than the deed. */
  act(verdict: AutostopVerdict): void;
}

/** A pass every `interval`, for as long as something runs: a node whose Machines all sleep has no timer. */
export class AutostopLoop {
  readonly #options: AutostopLoopOptions;
  #settings: AutostopSettings;
  #timer: Timer | undefined;
  #nextPass: Monotonic | undefined;

  constructor(settings: AutostopSettings, options: AutostopLoopOptions) {
    this.#settings = settings;
    this.#options = options;
  }

  get settings(): AutostopSettings {
    return this.#settings;
  }

  get nextPass(): Monotonic | undefined {
    return this.#nextPass;
  }

  set(settings: AutostopSettings): void {
    this.#settings = settings;
    if (this.#timer === undefined) return;
    this.stop();
    this.wake();
  }

  /** Something runs. */
  wake(): void {
    if (this.#timer !== undefined) return;
    const { clock } = this.#options;
    this.#nextPass = (clock.now() + this.#settings.interval) as Monotonic;
    this.#timer = clock.after(this.#settings.interval, () => this.#pass());
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#nextPass = undefined;
  }

  /** What a pass would decide now for one Machine. */
  verdict(machine: MachineId): AutostopVerdict | undefined {
    const groups = this.#options.groups().filter((group) => group.machines.some(({ id }) => id === machine));
    const verdicts = decide({ idle: this.#settings.idle, groups }, this.#options.clock.now());
    return verdicts.find((verdict) => verdict.machine === machine);
  }

  #pass(): void {
    this.stop();
    const groups = this.#options.groups();
    if (groups.length === 0) return;
    this.wake();
    const verdicts = decide({ idle: this.#settings.idle, groups }, this.#options.clock.now());
    for (const verdict of verdicts) this.#options.act(verdict);
  }
}
