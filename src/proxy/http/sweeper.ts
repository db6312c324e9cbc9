import type { Clock, Timer } from "../../core/clock.ts";
import { ms, type Monotonic } from "../../core/units.ts";

/** Something with a deadline that moves often. `Infinity`: none. */
export interface Swept {
  deadline: number;
  /** Called when the deadline has passed. Must move it or leave the sweeper. */
  expire(now: Monotonic): void;
}

const TICK = ms(1000);

/**
 * Deadlines by a walk over everything once a second, so that moving one costs an assignment: a timer for each request
 * would cost more than parsing it. A deadline is noticed up to a second late. Nothing runs while nothing is swept.
 */
export class Sweeper {
  readonly #clock: Clock;
  readonly #swept = new Set<Swept>();
  #timer: Timer | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  add(swept: Swept): void {
    this.#swept.add(swept);
    this.#arm();
  }

  remove(swept: Swept): void {
    this.#swept.delete(swept);
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#swept.clear();
  }

  #arm(): void {
    this.#timer ??= this.#clock.after(TICK, () => {
      this.#timer = undefined;
      const now = this.#clock.now();
      for (const swept of this.#swept) if (swept.deadline <= now) swept.expire(now);
      if (this.#swept.size > 0) this.#arm();
    });
  }
}
