import type { NetworkId } from "../core/ids.ts";

/**
 * Turns of the event loop for which what a network has in line may wait while more of its own comes. The loop takes one
 * connection of each listener a turn, from a queue of the kernel's in which a flood stands before everybody else: that
 * queue is emptied first, which costs a fraction of serving what is in it.
 */
const PATIENCE = 8;

interface Line {
  readonly waiting: Set<() => void>;
  /** Whether somebody came since the last turn. */
  grows: boolean;
  /** Turns that were left out because it grew. */
  leftOut: number;
}

/**
 * Who begins next. Beginnings are what a client can make us do for nothing: looking for a Machine, dialling it, shaking
 * hands. Each network begins one in a turn of the event loop, so that however many one of them sends, another one's begins
 * at the end of the turn in which it came, and after no more than one of each.
 */
export class Turns {
  readonly #lines = new Map<NetworkId, Line>();
  #isArmed = false;

  /** Resolves when it is this network's turn and the earlier ones of that network have had theirs. */
  take(network: NetworkId): Promise<void> {
    return new Promise((resolve) => {
      let line = this.#lines.get(network);
      if (line === undefined) this.#lines.set(network, (line = { waiting: new Set(), grows: false, leftOut: 0 }));
      line.waiting.add(resolve);
      line.grows = true;
      this.#arm();
    });
  }

  #arm(): void {
    if (this.#isArmed) return;
    this.#isArmed = true;
    setImmediate(() => {
      this.#isArmed = false;
      for (const [network, line] of this.#lines) this.#serve(network, line);
      if (this.#lines.size > 0) this.#arm();
    });
  }

  #serve(network: NetworkId, line: Line): void {
    const isFlooded = line.grows && line.waiting.size > 1;
    line.grows = false;
    if (isFlooded && line.leftOut < PATIENCE) {
      line.leftOut++;
      return;
    }
    line.leftOut = 0;
    const [first] = line.waiting;
    if (first === undefined) return;
    line.waiting.delete(first);
    if (line.waiting.size === 0) this.#lines.delete(network);
    first();
  }
}
