/** Lives that end by themselves, or never begin. Pure. */
import { AppError } from "../core/errors.ts";
import { assertNever } from "../core/result.ts";
import { ms, type Monotonic } from "../core/units.ts";
import { describeExit, ending, finish, restartDelay } from "./endings.ts";
import type { Ending, LifeEvent, MachineState, Step } from "./state.ts";
import { clearAway, killEffect, lose, still } from "./steps.ts";

/** A life of this length is no crash loop: restarts count from 0 again. */
const STEADY_LIFE = ms(10_000);

export function startFailed(
  state: MachineState,
  event: LifeEvent & { readonly kind: "start-failed" },
  now: Monotonic,
): Step {
  if (event.generation !== state.generation) return still(state);
  if (state.kind === "stopping" && state.unborn) {
    // A resume that failed leaves a frozen process behind, so this is not the end yet.
    return { next: { ...state, unborn: false }, effects: [killEffect(state)] };
  }
  if (state.kind !== "starting") return still(state);
  const { generation } = state;
  if (state.resume) {
    // Reference §3.2: a suspended Machine is resumed, else it boots.
    return {
      next: { ...state, process: generation, resume: false },
      effects: [{ kind: "driver-start", generation, clean: true }],
    };
  }
  const restart = restartDelay(state, event.after, { code: 1, signal: undefined });
  const failed: Ending = { ...ending("failed", event.error.message), error: event.error, restartAfter: restart };
  const step = finish(state, failed, now);
  return { next: step.next, effects: [{ kind: "fail-waiters", error: event.error }, ...step.effects] };
}

export function exited(before: MachineState, event: LifeEvent & { readonly kind: "exited" }, now: Monotonic): Step {
  if (event.process !== before.process) return still(before); // guard: exit-generation
  const steady = before.kind === "started" && now - before.since >= STEADY_LIFE;
  const state = steady ? { ...before, restarts: 0 } : before;
  const how = describeExit(event.exit);
  const error = new AppError("machine_exited", `the Machine's main process ended: ${how}`, {
    details: { ...event.exit },
  });
  const restartAfter = restartDelay(state, event.after, event.exit);
  const last = {
    ...ending(event.after.autoDestroy ? "destroyed" : "stopped", `it ended by itself: ${how}`),
    restartAfter,
  };
  switch (state.kind) {
    case "starting": {
      const failed: Ending = { ...last, to: event.after.autoDestroy ? "destroyed" : "failed", error };
      return { ...clearAway(state, failed, now, false), effects: [{ kind: "fail-waiters", error }, killEffect(state)] };
    }
    case "started": {
      const next: Ending = event.unproven && last.to === "stopped" ? { ...last, to: "failed", error } : last;
      return { ...clearAway(state, next, now, false), effects: [lose(error, false), killEffect(state)] };
    }
    case "draining": {
      const wanted = state.ending.to === "suspended" ? { ...state.ending, to: "stopped" as const } : state.ending;
      return { ...clearAway(state, wanted, now, false), effects: [lose(error, false), killEffect(state)] };
    }
    case "suspended":
    case "suspending": {
      const wanted = state.kind === "suspending" ? state.next : undefined;
      return { ...clearAway(state, wanted ?? last, now, false), effects: [lose(error, false), killEffect(state)] };
    }
    case "created":
    case "stopping":
    case "stopped":
    case "failed":
    case "destroying":
    case "destroyed":
      return still(state);
    default:
      return assertNever(state);
  }
}
