/** How lives end and what comes after: the part of the state machine that knows of restarts and backoff. Pure. */
import { backoffDelay, type Backoff } from "../core/backoff.ts";
import { AppError } from "../core/errors.ts";
import { assertNever } from "../core/result.ts";
import { ms, type Milliseconds, type Monotonic } from "../core/units.ts";
import type { Exit } from "./driver.ts";
import type { AfterExit, Effect, Ending, Life, MachineState, Step } from "./state.ts";

/** Between failed wakes, and between restarts by policy (design §4.2, wake). */
export const START_BACKOFF: Backoff = { first: ms(500), max: ms(10_000) };

/** An ending with nothing special about it. */
export function ending(to: Ending["to"], because: string): Ending {
  return { to, because, signal: undefined, timeout: undefined, restartAfter: undefined, error: undefined };
}

/** Nothing runs any more: what the ending wanted comes to pass. */
export function finish(state: MachineState, wanted: Ending, now: Monotonic): Step {
  const base = life(state, now, wanted.because);
  const restartAt = wanted.restartAfter === undefined ? undefined : ((now + wanted.restartAfter) as Monotonic);
  const restart: Effect[] =
    wanted.restartAfter === undefined
      ? []
      : [{ kind: "arm", timer: "restart", generation: state.generation, after: wanted.restartAfter }];
  const restarts = restartAt === undefined ? 0 : state.restarts + 1;
  switch (wanted.to) {
    case "stopped":
    case "suspended":
      return { next: { ...base, kind: "stopped", restartAt, restarts }, effects: restart };
    case "restart":
      return {
        next: { ...base, kind: "stopped", restartAt: undefined, restarts: 0 },
        effects: [{ kind: "request-start", because: wanted.because }],
      };
    case "destroyed":
      return { next: { ...base, kind: "destroying" }, effects: [{ kind: "driver-remove" }] };
    case "failed": {
      const failures = state.failures + 1;
      const wait = backoffDelay(START_BACKOFF, failures);
      const error = wanted.error ?? new AppError("PM02", wanted.because);
      return {
        next: { ...base, kind: "failed", error, failures, retryAt: (now + wait) as Monotonic, restartAt, restarts },
        effects: [{ kind: "arm", timer: "retry", generation: state.generation, after: wait }, ...restart],
      };
    }
    default:
      return assertNever(wanted.to);
  }
}

/** Undefined: it stays down until somebody wants it. */
export function restartDelay(state: MachineState, after: AfterExit, exit: Exit): Milliseconds | undefined {
  const { policy, maxRetries } = after.restart;
  if (policy === "no" || after.autoDestroy) return undefined;
  if (policy === "on-failure" && (exit.code === 0 || after.wakeable)) return undefined;
  if (policy === "on-failure" && state.restarts >= maxRetries) return undefined;
  return backoffDelay(START_BACKOFF, state.restarts + 1);
}

/** `exit code 1`, `signal SIGKILL`; for people. */
export function describeExit(exit: Exit): string {
  if (exit.signal !== undefined) return `signal ${exit.signal}`;
  return exit.code === undefined ? "nobody saw how" : `exit code ${exit.code}`;
}

/** A failure for the log and for people: what the program said last belongs to it, which is no business of clients. */
export function describeFailure(error: AppError): string {
  const { lastWords } = error.details;
  if (!Array.isArray(lastWords) || lastWords.length === 0) return error.message;
  return `${error.message}. It said: ${lastWords.join(" | ")}`;
}

/** What goes over from one state to the next. */
export function life(state: Life, now: Monotonic, because: string): Life {
  const { generation, process, failures, retryAt, restarts } = state;
  return { generation, process, since: now, because, failures, retryAt, restarts };
}
