import type { Socket } from "node:net";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/errors.ts";
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
  readonly #live = new Map<Socket, CutConnection>();
  readonly #cut = new WeakSet<Socket>();
  #onEmpty: (() => void)[] = [];

  get size(): number {
    return this.#live.size;
  }

  add(socket: Socket, about: CutConnection): void {
    this.#live.set(socket, about);
  }

  remove(socket: Socket): void {
    this.#live.delete(socket);
    if (this.#live.size > 0) return;
    const waiting = this.#onEmpty;
    this.#onEmpty = [];
    for (const callback of waiting) callback();
  }

  /** The error that a connection ended with, unless it was cut by us: then that is the reason. */
  reasonOf(socket: Socket, error: AppError | undefined): AppError | undefined {
    return this.#cut.has(socket) ? new AppError("FP11") : error;
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
    const cut = [...this.#live.values()];
    for (const socket of this.#live.keys()) {
      this.#cut.add(socket);
      reset(socket);
    }
    return cut;
  }
}
