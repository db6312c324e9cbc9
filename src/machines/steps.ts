/** What steps of the state machine are made of. Pure. */
import { AppError } from "../core/errors.ts";
import { err, ok, type Result } from "../core/result.ts";
import { ms, type Monotonic } from "../core/units.ts";
import { life } from "./endings.ts";
import type { Effect, Ending, Life, MachineState, Step } from "./state.ts";

/** The claims that are left are ended by force. */
export function cut(state: MachineState, wanted: Ending, now: Monotonic): Step {
  const error = new AppError("FP11", `cut: ${wanted.because}`);
  const step = putDown(state, wanted, now);
  return { next: step.next, effects: [lose(error, true), ...step.effects] };
}

/** Stops or freezes what runs (or stands frozen). */
export function putDown(state: MachineState, wanted: Ending, now: Monotonic): Step {
  if (wanted.to === "suspended" && (state.kind === "started" || state.kind === "draining")) {
    const next: MachineState = {
      ...life(state, now, wanted.because),
      kind: "suspending",
      pid: state.pid,
      next: undefined,
    };
    // Connections of callers that are themselves suspended may be left: they end with the life.
    const error = new AppError("PM10", `suspended: ${wanted.because}`);
    return { next, effects: [lose(error, false), { kind: "driver-suspend", generation: state.generation }] };
  }
  const error = new AppError("machine_exited", `the Machine was stopped: ${wanted.because}`);
  return { ...clearAway(state, wanted, now, false), effects: [lose(error, false), stopEffect(state, wanted)] };
}

export function clearAway(
  state: MachineState,
  wanted: Ending,
  now: Monotonic,
  unborn: boolean,
): { readonly next: MachineState } {
  return { next: { ...life(state, now, wanted.because), kind: "stopping", unborn, ending: wanted } };
}

export function lose(error: AppError, cutOff: boolean): Effect {
  return { kind: "lose-claims", error, cut: cutOff };
}

export function stopEffect(state: Life, wanted: Ending): Effect {
  return { kind: "driver-stop", generation: state.generation, signal: wanted.signal, timeout: wanted.timeout };
}

/** The main process is gone already; whatever it left behind goes too. */
export function killEffect(state: Life): Effect {
  return { kind: "driver-stop", generation: state.generation, signal: "SIGKILL", timeout: ms(0) };
}

export function step(next: MachineState, ...effects: Effect[]): Result<Step, never> {
  return ok({ next, effects });
}

export function still(state: MachineState): Step {
  return { next: state, effects: [] };
}

export function stay(state: MachineState): Result<Step, never> {
  return ok(still(state));
}

export function gone(): Result<never, AppError> {
  return err(new AppError("not_found", "the Machine is being destroyed"));
}
