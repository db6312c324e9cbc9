/** The words of the state machine: what a Machine can be, what can happen to it, and what is to be done about it. */
import type { RestartPolicy, Signal } from "../config/model.ts";
import type { AppError } from "../core/errors.ts";
import type { Milliseconds, Monotonic } from "../core/units.ts";
import type { Exit } from "./driver.ts";

/** What every state knows. */
export interface Life {
  /** Grows with each start and each resume. */
  readonly generation: number;
  /** The generation that the driver was given for the process that runs, or ran last. A resume does not change it. */
  readonly process: number;
  readonly since: Monotonic;
  readonly because: string;
  /** Failed starts in a row. A Machine that was reached starts from 0 again. */
  readonly failures: number;
  /** No claim starts it before this time. 0: at once. */
  readonly retryAt: Monotonic;
  /** Restarts by policy in a row. */
  readonly restarts: number;
}

/** How a life is to end, and what comes after. */
export interface Ending {
  readonly to: "stopped" | "suspended" | "restart" | "failed" | "destroyed";
  readonly because: string;
  /** Undefined: the Machine's own. */
  readonly signal: Signal | undefined;
  readonly timeout: Milliseconds | undefined;
  /** With `stopped` and `failed`: start it again after this time, by the restart policy. */
  readonly restartAfter: Milliseconds | undefined;
  /** With `failed`. */
  readonly error: AppError | undefined;
}

export type MachineState = Life &
  (
    | { readonly kind: "created" }
    | { readonly kind: "stopped"; readonly restartAt: Monotonic | undefined }
    | { readonly kind: "failed"; readonly restartAt: Monotonic | undefined; readonly error: AppError }
    /** `late`: the wake timeout is over, its waiters were told, and the driver has still not answered. */
    | {
        readonly kind: "starting";
        readonly resume: boolean;
        readonly late: boolean;
        /** Of the frozen process that is resumed. */
        readonly pid: number | undefined;
      }
    | { readonly kind: "started"; readonly pid: number | undefined }
    /** A command empties it: no new claims. */
    | { readonly kind: "draining"; readonly pid: number | undefined; readonly ending: Ending }
    /** `unborn`: the driver has not yet answered the start that is to be undone. */
    | { readonly kind: "stopping"; readonly unborn: boolean; readonly ending: Ending }
    /** `next`: what to do once it stands still. */
    | { readonly kind: "suspending"; readonly pid: number | undefined; readonly next: Ending | undefined }
    | { readonly kind: "suspended"; readonly pid: number | undefined }
    | { readonly kind: "destroying" }
    | { readonly kind: "destroyed" }
  );

/** What to do when the Machine ends by itself. */
export interface AfterExit {
  readonly restart: RestartPolicy;
  /** Whether the next connection can wake it, so that there is no need to start it for nobody. */
  readonly wakeable: boolean;
  /** Destroyed as soon as it has ended. */
  readonly autoDestroy: boolean;
}

export type LifeEvent =
  | { readonly kind: "start"; readonly because: string }
  | { readonly kind: "driver-started"; readonly generation: number; readonly pid: number | undefined }
  | { readonly kind: "start-failed"; readonly generation: number; readonly error: AppError; readonly after: AfterExit }
  /** The wake timeout is over and the driver has not answered. */
  | { readonly kind: "wake-timeout"; readonly generation: number; readonly error: AppError }
  /** `unproven`: it was woken and ended before any of its ports answered. `process`: the generation that the driver reports. */
  | {
      readonly kind: "exited";
      readonly process: number;
      readonly exit: Exit;
      readonly unproven: boolean;
      readonly after: AfterExit;
    }
  | { readonly kind: "driver-stopped"; readonly generation: number }
  /** Autostop's proposal. `claims`: those that hold it up at this very moment. */
  | {
      readonly kind: "sleep";
      readonly generation: number;
      readonly action: "stop" | "suspend";
      readonly claims: number;
      readonly because: string;
    }
  /** A command. `drain`: wait for the claims to end. */
  | { readonly kind: "end"; readonly ending: Ending; readonly claims: number; readonly drain: boolean }
  | { readonly kind: "drained" }
  | { readonly kind: "drain-timeout"; readonly generation: number }
  | { readonly kind: "driver-suspended"; readonly generation: number }
  | { readonly kind: "suspend-failed"; readonly generation: number }
  /** One of its ports answered, or a check passed. */
  | { readonly kind: "proved"; readonly generation: number }
  | { readonly kind: "restart-due" }
  | { readonly kind: "removed" }
  /** How it had come to rest in an earlier life of the node; `since` lies before the clock's beginning. */
  | { readonly kind: "remembered"; readonly generation: number; readonly because: string; readonly since: Monotonic }
  /** Found running (or frozen) from an earlier life of the node. */
  | {
      readonly kind: "recovered";
      readonly generation: number;
      readonly pid: number;
      readonly suspended: boolean;
      /** Undefined: nobody remembers. */
      readonly because: string | undefined;
    };

export type Effect =
  /** `clean`: kill what is left of an earlier process first. */
  | { readonly kind: "driver-start"; readonly generation: number; readonly clean: boolean }
  | { readonly kind: "driver-resume"; readonly generation: number }
  | {
      readonly kind: "driver-stop";
      readonly generation: number;
      readonly signal: Signal | undefined;
      readonly timeout: Milliseconds | undefined;
    }
  | { readonly kind: "driver-suspend"; readonly generation: number }
  | { readonly kind: "driver-remove" }
  /** Ask for a start slot, then send `start`. */
  | { readonly kind: "request-start"; readonly because: string }
  /** It runs: hand its endpoint to those who wait. `fresh`: its ports may need time yet. */
  | { readonly kind: "open"; readonly fresh: boolean }
  /** End the claims that wait for a start. */
  | { readonly kind: "fail-waiters"; readonly error: AppError }
  /** End every claim. `cut`: they were in use, and a command ended them. */
  | { readonly kind: "lose-claims"; readonly error: AppError; readonly cut: boolean }
  | {
      readonly kind: "arm";
      readonly timer: "wake" | "drain" | "restart" | "retry";
      readonly generation: number;
      /** Undefined: the limit of that name. */
      readonly after: Milliseconds | undefined;
    };

export interface Step {
  readonly next: MachineState;
  readonly effects: readonly Effect[];
}
