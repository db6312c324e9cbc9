import type { Clock, Timer } from "../core/clock.ts";
import type { Milliseconds } from "../core/units.ts";

/** At most one timer of each name: arming it again moves it. */
export class NamedTimers {
  readonly #clock: Clock;
  readonly #timers = new Map<string, Timer>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  arm(name: string, after: Milliseconds, callback: () => void): void {
    this.disarm(name);
    const timer = this.#clock.after(after, () => {
      this.#timers.delete(name);
      callback();
    });
    this.#timers.set(name, timer);
  }

  disarm(name: string): void {
    this.#timers.get(name)?.cancel();
    this.#timers.delete(name);
  }

  clear(): void {
    for (const timer of this.#timers.values()) timer.cancel();
    this.#timers.clear();
  }
}
