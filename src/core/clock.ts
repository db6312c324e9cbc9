import type { Milliseconds, Monotonic, WallTime } from "./units.ts";

/** A timer that was armed by a clock. Cancelling twice, or after it fired, does nothing. */
export interface Timer {
  cancel(): void;
}

/** Time as an argument. Everything that waits or measures takes one; tests move it by hand. */
export interface Clock {
  /** Monotonic milliseconds: for durations and deadlines. */
  now(): Monotonic;
  /** Milliseconds since the epoch: for people, files and protocols. */
  wall(): WallTime;
  /**
   * Calls back once, never synchronously, and never before `delay` is over by `now`: whoever finds in the callback that it is
   * too early would wait for ever. The timer does not keep the process alive.
   */
  after(delay: Milliseconds, callback: () => void): Timer;
}

export const systemClock: Clock = {
  now: () => performance.now() as Monotonic,
  wall: () => Date.now() as WallTime,
  after(delay, callback) {
    const due = performance.now() + delay;
    // Node counts in whole milliseconds, from one that has begun: its timers are up to two of ours early.
    const fire = (): void => {
      const left = due - performance.now();
      if (left > 0) timer = setTimeout(fire, Math.ceil(left)).unref();
      else callback();
    };
    let timer = setTimeout(fire, Math.ceil(delay)).unref();
    return { cancel: () => clearTimeout(timer) };
  },
};

export function sleep(clock: Clock, delay: Milliseconds): Promise<void> {
  return new Promise((resolve) => clock.after(delay, resolve));
}
