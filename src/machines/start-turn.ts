import type { NetworkId } from "../core/ids.ts";
import type { StartSlots } from "./start-slots.ts";

/** One Machine's place among those that start: it has a slot, waits in line for one, or neither. */
export class StartTurn {
  readonly #slots: StartSlots;
  readonly #network: NetworkId;
  #leaveLine: (() => void) | undefined;
  #held = false;

  constructor(slots: StartSlots, network: NetworkId) {
    this.#slots = slots;
    this.#network = network;
  }

  get held(): boolean {
    return this.#held;
  }

  get waits(): boolean {
    return this.#leaveLine !== undefined;
  }

  /** For a claim, which cannot wait: true when there is a slot, or it is held already. */
  take(): boolean {
    this.#held ||= this.#slots.tryTake(this.#network);
    // Its place in the line would come up after this start, and begin another that nobody asked for.
    if (this.#held) this.leave();
    return this.#held;
  }

  /** For a command: calls back, perhaps at once, with the slot held. Asking again moves to the end of the line. */
  wait(granted: () => void): void {
    this.leave();
    const leave = this.#slots.take(this.#network, () => {
      this.#leaveLine = undefined;
      if (this.#held) return this.#slots.give(this.#network); // a claim was faster
      this.#held = true;
      granted();
    });
    if (!this.#held) this.#leaveLine = leave;
  }

  leave(): void {
    this.#leaveLine?.();
    this.#leaveLine = undefined;
  }

  give(): void {
    if (!this.#held) return;
    this.#held = false;
    this.#slots.give(this.#network);
  }
}
