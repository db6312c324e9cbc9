import { assertNever } from "../core/result.ts";
import type { Monotonic } from "../core/units.ts";
import type { Refusal } from "./pool.ts";
import type { ServiceSlot } from "./service-slot.ts";
import type { MachineState } from "./state.ts";

export type Admission =
  /** It runs: dial. */
  | "serve"
  /** It starts, or its first check has not passed yet. */
  | "wait"
  /** It must be started first. */
  | "wake"
  | Refusal;

/** What a claim on a service of a Machine meets at this moment. Pure; looking changes nothing. */
export function admit(
  state: MachineState,
  slot: ServiceSlot,
  wants: { readonly wake: boolean; readonly cordoned: boolean },
  now: Monotonic,
): Admission {
  switch (state.kind) {
    case "created":
    case "stopped":
    case "suspended":
    case "failed":
      if (wants.cordoned) return "cordoned"; // guard: cordoned
      if (!wants.wake || !slot.autostart) return "asleep"; // guard: autostart
      if (slot.hardLimit <= slot.inFlight) return "hard-limit";
      if (now < state.retryAt) return "backoff"; // guard: backoff
      return "wake";
    case "starting":
      if (wants.cordoned) return "cordoned";
      if (state.late) return "backoff"; // guard: late
      // A Postgres CancelRequest finds nothing to cancel in a Machine that starts. Where nothing can be woken, waiting is no wake.
      if (!wants.wake && slot.autostart) return "asleep";
      if (slot.inFlight >= slot.hardLimit) return "hard-limit"; // guard: hard-limit-starting
      return "wait";
    case "started":
      if (wants.cordoned) return "cordoned";
      if (slot.unhealthy) return "unhealthy"; // guard: unhealthy
      if (now < slot.retryAt) return "backoff";
      if (slot.inFlight >= slot.hardLimit) return "hard-limit"; // guard: hard-limit
      return slot.pending ? "wait" : "serve";
    case "draining":
      return "draining";
    case "stopping":
      return state.ending.to === "destroyed" ? "gone" : "stopping";
    case "suspending":
      return state.next?.to === "destroyed" ? "gone" : "stopping";
    case "destroying":
    case "destroyed":
      return "gone";
    default:
      return assertNever(state);
  }
}
