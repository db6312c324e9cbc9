import type { Clock, Timer } from "../../src/core/clock.ts";
import { ms, type Monotonic, type WallTime } from "../../src/core/units.ts";

/** A clock that is moved by hand. Timers fire in order of their time, then of arming. */
export class FakeClock implements Clock {
  #now = 1_000_000;
  #sequence = 0;
  readonly #timers: { at: number; sequence: number; callback: () => void }[] = [];
  readonly #epoch: number;

  constructor(epoch = Date.UTC(2026, 0, 1)) {
    this.#epoch = epoch - this.#now;
  }

  now(): Monotonic {
    return this.#now as Monotonic;
  }

  wall(): WallTime {
    return (this.#epoch + this.#now) as WallTime;
  }

  after(delay: number, callback: () => void): Timer {
    const timer = { at: this.#now + Math.max(0, delay), sequence: this.#sequence++, callback };
    this.#timers.push(timer);
    return {
      cancel: () => {
        const index = this.#timers.indexOf(timer);
        if (index >= 0) this.#timers.splice(index, 1);
      },
    };
  }

  get pending(): number {
    return this.#timers.length;
  }

  /** Moves time on; runs due timers one by one and lets promises settle after each. */
  async advance(by: number): Promise<void> {
    const end = this.#now + by;
    for (;;) {
      await settle();
      this.#timers.sort((a, b) => a.at - b.at || a.sequence - b.sequence);
      const next = this.#timers[0];
      if (next === undefined || next.at > end) break;
      this.#timers.shift();
      this.#now = Math.max(this.#now, next.at);
      next.callback();
    }
    this.#now = end;
    await settle();
  }
}

/** Lets every promise that can settle do so. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise<void>((resolve) => setImmediate(resolve));
}

export const second = ms(1000);
