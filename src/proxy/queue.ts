import type { Clock, Timer } from "../core/clock.ts";
import { AppError, toAppError } from "../core/errors.ts";
import type { AppName } from "../core/ids.ts";
import { ms, type Milliseconds } from "../core/units.ts";
import type { Limits } from "../config/model.ts";
import type { MachinePool } from "../machines/pool.ts";
import type { Choice } from "./choose.ts";
import type { Work } from "./context.ts";

export type Claimed = Extract<Choice, { kind: "claimed" }>;

interface Waiter {
  readonly work: Work;
  readonly leave: () => void;
  readonly resolve: (claimed: Claimed) => void;
  readonly reject: (error: AppError) => void;
}

interface QueueOptions {
  readonly pool: MachinePool;
  readonly clock: Clock;
  readonly limits: () => Limits;
  readonly choose: (work: Work) => Choice | Promise<Choice>;
}

/**
 * Work that no Machine can take now, in order of arrival, one line per service. Bounded in number and time. A line tries
 * again when the pool says that something changed, and then serves as many as it can.
 */
export class Queue {
  readonly #options: QueueOptions;
  readonly #lines = new Map<string, Line>();

  constructor(options: QueueOptions) {
    this.#options = options;
  }

  /** Whether somebody waits for the same service: then a newcomer joins the line instead of passing it. */
  isBusy(work: Work): boolean {
    return this.#lines.size > 0 && isPlain(work) && this.#lines.has(keyOf(work));
  }

  /** @errors FP05 the line is full, FP06 it took too long, FP10 or FP16 the client left, or why nothing can ever take it */
  wait(work: Work, why: "full" | "settling"): Promise<Claimed> {
    const limits = this.#options.limits();
    const key = keyOf(work);
    let line = this.#lines.get(key);
    if (line !== undefined && line.length >= limits.queueLength) return Promise.reject(new AppError("FP05"));
    if (line === undefined) {
      line = new Line(work.app, this.#options, () => this.#lines.delete(key));
      this.#lines.set(key, line);
    }
    // A Machine that stops may take as long as its kill_timeout, and a wake follows.
    const timeout = why === "full" ? limits.queueTimeout : ms(Math.max(limits.queueTimeout, limits.wakeTimeout));
    return line.join(work, timeout);
  }
}

class Line {
  readonly #waiters = new Set<Waiter>();
  readonly #app: AppName;
  readonly #options: QueueOptions;
  readonly #onEmpty: () => void;
  #unsubscribe: (() => void) | undefined;
  #serving = false;
  #again = false;

  constructor(app: AppName, options: QueueOptions, onEmpty: () => void) {
    this.#app = app;
    this.#options = options;
    this.#onEmpty = onEmpty;
  }

  get length(): number {
    return this.#waiters.size;
  }

  join(work: Work, timeout: Milliseconds): Promise<Claimed> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => this.#fail(waiter, toAppError(work.signal.reason, "FP10"));
      const timer: Timer = this.#options.clock.after(timeout, () => this.#fail(waiter, new AppError("FP06")));
      const leave = (): void => {
        timer.cancel();
        work.signal.removeEventListener("abort", onAbort);
        this.#waiters.delete(waiter);
        if (this.#waiters.size === 0) this.#close();
      };
      const waiter: Waiter = { work, leave, resolve, reject };
      this.#waiters.add(waiter);
      work.signal.addEventListener("abort", onAbort);
      if (work.signal.aborted) return onAbort();
      this.#listen();
      // Whatever changed between the choice that failed and this moment was told to nobody: look once more.
      this.#serveSoon();
    });
  }

  #fail(waiter: Waiter, error: AppError): void {
    if (!this.#waiters.has(waiter)) return;
    waiter.leave();
    waiter.reject(error);
  }

  #listen(): void {
    this.#unsubscribe ??= this.#options.pool.onChange(this.#app, () => {
      this.#unsubscribe = undefined;
      if (this.#waiters.size === 0) return;
      this.#listen();
      this.#serveSoon();
    });
  }

  #close(): void {
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
    this.#onEmpty();
  }

  /** After the current step: the change was told in the middle of somebody's release, and several often come together. */
  #serveSoon(): void {
    if (this.#serving) {
      this.#again = true;
      return;
    }
    this.#serving = true;
    queueMicrotask(() => void this.#serve());
  }

  async #serve(): Promise<void> {
    do {
      this.#again = false;
      let stuck = false;
      for (const waiter of this.#waiters) {
        if (!this.#waiters.has(waiter)) continue;
        // All plain work is alike: where one must wait, so must those behind it.
        const plain = isPlain(waiter.work);
        if (plain && stuck) continue;
        const choice = await this.#try(waiter.work);
        if (!this.#waiters.has(waiter)) {
          if (choice.kind === "claimed") choice.claim.release();
          continue;
        }
        if (choice.kind === "wait") {
          stuck ||= plain;
          continue;
        }
        waiter.leave();
        if (choice.kind === "claimed") waiter.resolve(choice);
        else waiter.reject(choice.error);
      }
    } while (this.#again);
    this.#serving = false;
  }

  async #try(work: Work): Promise<Choice> {
    try {
      return await this.#options.choose(work);
    } catch (thrown) {
      return { kind: "refused", error: toAppError(thrown, "FP15") };
    }
  }
}

function keyOf(work: Work): string {
  return `${work.app} ${work.route.service.internalPort}`;
}

/** Without wishes or failures of its own: whatever can take one such piece of work can take any. */
function isPlain(work: Work): boolean {
  const { wishes } = work;
  return work.excluded.size === 0 && work.wake && Object.keys(wishes).length === 0;
}
