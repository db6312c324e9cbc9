import type { Clock } from "../core/clock.ts";
import type { NetworkId } from "../core/ids.ts";
import { seconds, type Monotonic } from "../core/units.ts";

/**
 * Turns of the event loop for which a network that began something in the last ones waits while more of its own comes. The
 * loop takes one connection of each listener a turn, from a queue of the kernel's in which a flood stands before everybody
 * else: that queue is emptied first, which costs a fraction of serving what is in it.
 */
const PATIENCE = 64;
/** For so long after another network was last here, a network waits for its turn. */
const COMPANY = seconds(60);

interface Line {
  readonly waiting: Set<() => void>;
  /** Whether somebody came since the last turn. */
  grows: boolean;
}

/**
 * Who begins next. Beginnings are what a client can make us do for nothing: looking for a Machine, dialling it, shaking
 * hands. Each network begins one in a turn of the event loop, so that however many one of them sends, another one's begins
 * at the end of the turn in which it came, and after no more than one of each.
 */
export class Turns {
  readonly #lines = new Map<NetworkId, Line>();
  /** The number of the turn in which a network last began something, the earliest first. */
  readonly #served = new Map<NetworkId, number>();
  readonly #clock: Clock;
  /** When each network last came, the longest ago first. */
  readonly #seen = new Map<NetworkId, Monotonic>();
  #turn = 0;
  #isArmed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Resolves when it is this network's turn and the earlier ones of that network have had theirs. Undefined: that is now.
   */
  take(network: NetworkId): Promise<void> | undefined {
    // Most computers have one network, or one that is in use.
    if (this.#isAlone(network) && !this.#lines.has(network)) return undefined;
    return new Promise((resolve) => {
      let line = this.#lines.get(network);
      if (line === undefined) this.#lines.set(network, (line = { waiting: new Set(), grows: true }));
      line.waiting.add(resolve);
      line.grows = true;
      this.#arm();
    });
  }

  #isAlone(network: NetworkId): boolean {
    const now = this.#clock.now();
    this.#seen.delete(network);
    this.#seen.set(network, now);
    for (const [other, seen] of this.#seen) {
      if (now - seen <= COMPANY) break;
      this.#seen.delete(other);
    }
    return this.#seen.size === 1;
  }

  #arm(): void {
    if (this.#isArmed) return;
    this.#isArmed = true;
    setImmediate(() => {
      this.#isArmed = false;
      this.#turn++;
      for (const [network, line] of this.#lines) this.#serve(network, line);
      if (this.#lines.size > 0) this.#arm();
      this.#forget();
    });
  }

  /** In their turn, which costs nothing while there are few, and keeps no network that has gone. */
  #forget(): void {
    for (const [network, turn] of this.#served) {
      if (this.#turn - turn < PATIENCE) return;
      this.#served.delete(network);
    }
  }

  #serve(network: NetworkId, line: Line): void {
    const { grows } = line;
    line.grows = false;
    if (grows && this.#turn - (this.#served.get(network) ?? -PATIENCE) < PATIENCE) return;
    this.#served.delete(network); // so that they stand in the order of their turns
    this.#served.set(network, this.#turn);
    const [first] = line.waiting;
    if (first === undefined) return;
    line.waiting.delete(first);
    if (line.waiting.size === 0) this.#lines.delete(network);
    first();
  }
}
