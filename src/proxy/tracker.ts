import type { Socket } from "node:net";
import type { Clock } from "../core/clock.ts";
import type { AppName } from "../core/ids.ts";
import type { Milliseconds } from "../core/units.ts";
import type { Caller } from "../network/caller.ts";
import { reset } from "./forward.ts";

/** A connection that was cut because it did not end in time. */
export interface CutConnection {
  readonly app: AppName;
  readonly caller: Caller;
  readonly destination: string;
}

/** The connections that are open now. */
export class Tracker {
  readonly #live = new Map<number, { readonly socket: Socket; readonly about: CutConnection }>();
  readonly #cut = new Set<number>();
  #onEmpty: (() => void)[] = [];

  get size(): number {
    return this.#live.size;
  }

  add(connection: number, socket: Socket, about: CutConnection): void {
    this.#live.set(connection, { socket, about });
  }

  remove(connection: number): void {
    this.#live.delete(connection);
    this.#cut.delete(connection);
    if (this.#live.size > 0) return;
    const waiting = this.#onEmpty;
    this.#onEmpty = [];
    for (const callback of waiting) callback();
  }

  /** Whether we are the reason why this connection ended. */
  isCut(connection: number): boolean {
    return this.#cut.has(connection);
  }

  /** Waits until all connections have ended, at most so long; then cuts the rest, and says which. */
  async drain(clock: Clock, timeout: Milliseconds): Promise<readonly CutConnection[]> {
    if (this.#live.size > 0 && timeout > 0) {
      await new Promise<void>((resolve) => {
        const timer = clock.after(timeout, resolve);
        this.#onEmpty.push(() => {
          timer.cancel();
          resolve();
        });
      });
    }
    const left = [...this.#live];
    for (const [connection, { socket }] of left) {
      this.#cut.add(connection);
      reset(socket);
    }
    return left.map(([, { about }]) => about);
  }
}
