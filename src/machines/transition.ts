/**
 * The state machine of a Machine: pure. Whatever happens is an event; the answer is the next state and what to do about
 * it. Events of an earlier life carry an old generation and change nothing.
 *
 *     created ─┐                      ┌──────────── a claim or a command ───────────┐
 *     stopped ─┴─> starting ─> started ─> draining ─> stopping ─> stopped           │
 *        ▲            │           │           └────> suspending ─> suspended ───────┘
 *        └── failed <─┘           └─ exits by itself ─> stopping (what is left is killed) ─> stopped
 */
import { AppError } from "../core/errors.ts";
import { assertNever, err, ok, type Result } from "../core/result.ts";
import type { Monotonic } from "../core/units.ts";
import { ending, finish, life } from "./endings.ts";
import { exited, startFailed } from "./exits.ts";
import type { LifeEvent, MachineState, Step } from "./state.ts";
import { clearAway, cut, gone, putDown, stay, step, still, stopEffect } from "./steps.ts";

export function newMachine(now: Monotonic): MachineState {
  return {
    kind: "created",
    generation: 0,
    process: 0,
    since: now,
    because: "created",
    failures: 0,
    retryAt: 0 as Monotonic,
    restarts: 0,
  };
}

/** @errors `conflict`, `not_found`: a command that makes no sense in this state. */
export function transition(state: MachineState, event: LifeEvent, now: Monotonic): Result<Step, AppError> {
  switch (event.kind) {
    case "start":
      return start(state, event.because, now);
    case "end":
      return end(state, event, now);
    case "driver-started":
      return ok(driverStarted(state, event, now));
    case "start-failed":
      return ok(startFailed(state, event, now));
    case "exited":
      return ok(exited(state, event, now));
    case "driver-stopped":
      if (state.kind !== "stopping" || state.unborn) return stay(state);
      if (event.generation !== state.generation) return stay(state);
      return ok(finish(state, state.ending, now));
    case "sleep": {
      if (state.kind !== "started") return stay(state);
      if (event.generation !== state.generation) return stay(state); // guard: sleep-generation
      if (event.claims > 0) return stay(state); // guard: sleep-claims
      return ok(putDown(state, ending(event.action === "suspend" ? "suspended" : "stopped", event.because), now));
    }
    case "drained":
      return state.kind === "draining" ? ok(putDown(state, state.ending, now)) : stay(state);
    case "drain-timeout":
      if (state.kind !== "draining" || event.generation !== state.generation) return stay(state);
      return ok(cut(state, state.ending, now));
    case "driver-suspended":
      if (state.kind !== "suspending" || event.generation !== state.generation) return stay(state);
      return ok(suspended(state, now));
    case "suspend-failed": {
      if (state.kind !== "suspending" || event.generation !== state.generation) return stay(state);
      // Reference §3.1: suspend falls back to stop.
      const then = state.next ?? ending("stopped", "could not be suspended, so it is stopped");
      return ok(putDown(state, then.to === "suspended" ? { ...then, to: "stopped" } : then, now));
    }
    case "wake-timeout":
      if (state.kind !== "starting" || event.generation !== state.generation || state.late) return stay(state);
      // Still "starting": a second start beside one that hangs in the driver could make two processes.
      return step({ ...state, late: true }, { kind: "fail-waiters", error: event.error });
    case "proved":
      if (state.kind === "destroying" || state.kind === "destroyed") return stay(state);
      if (event.generation !== state.generation || state.failures === 0) return stay(state);
      return step({ ...state, failures: 0 });
    case "restart-due":
      if (state.kind !== "stopped" && state.kind !== "failed") return stay(state);
      if (state.restartAt === undefined || now < state.restartAt) return stay(state);
      return step({ ...state, restartAt: undefined }, { kind: "request-start", because: "restarted by its policy" });
    case "removed":
      return state.kind === "destroying"
        ? step({ ...life(state, now, state.because), kind: "destroyed" })
        : stay(state);
    case "remembered": {
      if (state.kind !== "created") return stay(state);
      const { generation, because, since } = event;
      const rest = { ...life(state, since, because), generation, process: generation };
      return step({ ...rest, kind: "stopped", restartAt: undefined });
    }
    case "recovered": {
      if (state.kind !== "created") return stay(state);
      const because = event.because ?? "ran on while the node was away";
      const found = { ...life(state, now, because), generation: event.generation };
      const next = { ...found, process: event.generation, pid: event.pid };
      return event.suspended
        ? step({ ...next, kind: "suspended" })
        : step({ ...next, kind: "started" }, { kind: "open", fresh: false });
    }
    default:
      return assertNever(event);
  }
}

function start(state: MachineState, because: string, now: Monotonic): Result<Step, AppError> {
  switch (state.kind) {
    case "created":
    case "stopped":
    case "failed": {
      const generation = state.generation + 1;
      const next = { ...life(state, now, because), generation, process: generation };
      return step(
        { ...next, kind: "starting", resume: false, late: false, pid: undefined },
        { kind: "driver-start", generation, clean: false },
        { kind: "arm", timer: "wake", generation, after: undefined },
      );
    }
    case "suspended": {
      const generation = state.generation + 1;
      return step(
        { ...life(state, now, because), generation, kind: "starting", resume: true, late: false, pid: state.pid },
        { kind: "driver-resume", generation },
        { kind: "arm", timer: "wake", generation, after: undefined },
      );
    }
    case "starting":
    case "started":
      return stay(state);
    case "draining":
      if (state.ending.to === "destroyed") return gone();
      // It still runs: the command that was emptying it is taken back.
      return step({ ...life(state, now, because), kind: "started", pid: state.pid });
    case "stopping":
      if (state.ending.to === "destroyed") return gone();
      return step({ ...state, ending: { ...state.ending, to: "restart", because } });
    case "suspending":
      if (state.next?.to === "destroyed") return gone();
      return step({ ...state, next: ending("restart", because) });
    case "destroying":
    case "destroyed":
      return gone();
    default:
      return assertNever(state);
  }
}

function driverStarted(
  state: MachineState,
  event: { readonly generation: number; readonly pid: number | undefined },
  now: Monotonic,
): Step {
  if (event.generation !== state.generation) return still(state); // guard: started-generation
  if (state.kind === "starting") {
    const next = { ...life(state, now, state.because), retryAt: 0 as Monotonic };
    return { next: { ...next, kind: "started", pid: event.pid }, effects: [{ kind: "open", fresh: true }] };
  }
  if (state.kind === "stopping" && state.unborn) {
    // The start that a command wanted undone has come through: now there is something to stop.
    return { next: { ...state, unborn: false }, effects: [stopEffect(state, state.ending)] };
  }
  return still(state);
}

function end(state: MachineState, event: LifeEvent & { readonly kind: "end" }, now: Monotonic): Result<Step, AppError> {
  const wanted = event.ending;
  switch (state.kind) {
    case "created":
    case "stopped":
    case "failed":
      if (wanted.to === "suspended") return err(new AppError("conflict", "the Machine is not running"));
      // It is what was asked for, since earlier and for a better reason.
      if (wanted.to === "stopped" && state.kind === "stopped" && state.restartAt === undefined) return stay(state);
      return ok(finish(state, wanted, now));
    case "suspended":
      return wanted.to === "suspended" ? stay(state) : ok(putDown(state, wanted, now));
    case "starting": {
      if (wanted.to === "suspended") return err(new AppError("conflict", "the Machine is starting"));
      const error = new AppError("PM10", `the start was cancelled: ${wanted.because}`);
      return ok({ ...clearAway(state, wanted, now, true), effects: [{ kind: "fail-waiters", error }] });
    }
    case "started":
    case "draining":
      if (event.claims === 0) return ok(putDown(state, wanted, now));
      if (!event.drain) return ok(cut(state, wanted, now));
      return step(
        { ...life(state, now, wanted.because), kind: "draining", pid: state.pid, ending: wanted },
        { kind: "arm", timer: "drain", generation: state.generation, after: undefined },
      );
    case "stopping":
      // A Machine that is to be destroyed stays so; suspending what is already being stopped means nothing.
      if (state.ending.to === "destroyed" || wanted.to === "suspended") return stay(state);
      return step({ ...state, ending: { ...wanted, error: undefined } });
    case "suspending":
      return step({ ...state, next: wanted.to === "suspended" ? undefined : wanted });
    case "destroying":
    case "destroyed":
      return wanted.to === "destroyed" ? stay(state) : gone();
    default:
      return assertNever(state);
  }
}

function suspended(state: MachineState & { readonly kind: "suspending" }, now: Monotonic): Step {
  const next: MachineState = { ...life(state, now, state.because), kind: "suspended", pid: state.pid };
  if (state.next === undefined) return still(next);
  if (state.next.to === "restart") return { next, effects: [{ kind: "request-start", because: state.next.because }] };
  return putDown(next, state.next, now);
}
