import { AppError } from "../core/errors.ts";
import { assertNever } from "../core/result.ts";
import { deferred, type Deferred } from "./deferred.ts";
import type { Ending, MachineState } from "./state.ts";

/** Who waits for a Machine to come to something: commands, and those who watch. */
export class Outcomes {
  #starts: Deferred<void>[] = [];
  readonly #ends = new Set<{ readonly to: Ending["to"]; readonly done: Deferred<void> }>();
  readonly #watchers = new Set<{ readonly test: (state: MachineState) => boolean; readonly done: () => void }>();

  /** Resolves when it has started; rejects with the reason why it did not. */
  start(): Promise<void> {
    const done = deferred<void>();
    this.#starts.push(done);
    return done.promise;
  }

  /** Resolves when it is down in that way; rejects (`conflict`) when it was started again instead. */
  end(to: Ending["to"]): Promise<void> {
    const end = { to, done: deferred<void>() };
    this.#ends.add(end);
    return end.done.promise;
  }

  /** Resolves when a state passes the test. Never, once the signal has aborted. */
  until(test: (state: MachineState) => boolean, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const watcher = { test, done: resolve };
      this.#watchers.add(watcher);
      signal.addEventListener("abort", () => this.#watchers.delete(watcher), { once: true });
    });
  }

  /** The Machine has come to this state. */
  settle(state: MachineState): void {
    if (state.kind === "started") this.#settleStarts(undefined);
    else if (state.kind === "failed") this.#settleStarts(state.error);
    else if (state.kind === "destroying") this.#settleStarts(new AppError("not_found", "the Machine was destroyed"));
    const up = state.kind === "started" || state.kind === "starting";
    for (const end of this.#ends) {
      if (!up && !isDown(state, end.to)) continue;
      this.#ends.delete(end);
      if (up) end.done.reject(new AppError("conflict", `the Machine was started again: ${state.because}`));
      else end.done.resolve();
    }
    for (const watcher of this.#watchers) {
      if (!watcher.test(state)) continue;
      this.#watchers.delete(watcher);
      watcher.done();
    }
  }

  cancelStarts(why: string): void {
    this.#settleStarts(new AppError("PM10", why));
  }

  close(): void {
    const why = "the node is going down";
    this.cancelStarts(why);
    for (const end of this.#ends) end.done.reject(new AppError("PM10", why));
    this.#ends.clear();
  }

  #settleStarts(error: AppError | undefined): void {
    const starts = this.#starts;
    this.#starts = [];
    for (const start of starts) {
      if (error === undefined) start.resolve();
      else start.reject(error);
    }
  }
}

/** Whether a start begins from here. */
export function isAsleep(state: MachineState): boolean {
  return isDown(state, "stopped") || state.kind === "suspended";
}

/** Whether an ending has come to pass. */
function isDown(state: MachineState, to: Ending["to"]): boolean {
  switch (state.kind) {
    case "destroyed":
      return true;
    case "created":
    case "stopped":
    case "failed":
      return to !== "destroyed";
    case "suspended":
      return to === "suspended";
    case "starting":
    case "started":
    case "draining":
    case "stopping":
    case "suspending":
    case "destroying":
      return false;
    default:
      return assertNever(state);
  }
}
