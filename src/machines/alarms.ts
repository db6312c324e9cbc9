import { AppError } from "../core/errors.ts";
import { assertNever } from "../core/result.ts";
import type { Milliseconds, Monotonic } from "../core/units.ts";
import type { Machine } from "../registry/model.ts";
import type { NamedTimers } from "./named-timers.ts";
import type { Effect, LifeEvent, MachineState } from "./state.ts";
import type { SupervisorContext } from "./supervisor-context.ts";

export interface AlarmsHost {
  readonly machine: Machine;
  readonly state: MachineState;
  readonly timers: NamedTimers;
  dispatch(event: LifeEvent): void;
  failed(error: AppError): void;
}

/** The timers that the state machine asks for, and what each of them brings about. */
export class Alarms {
  /** When a command's patience with the claims that are left ends. Means something while the Machine is draining. */
  drainUntil: Monotonic | undefined;
  readonly #host: AlarmsHost;
  readonly #context: SupervisorContext;

  constructor(host: AlarmsHost, context: SupervisorContext) {
    this.#host = host;
    this.#context = context;
  }

  arm({ timer, generation, after }: Effect & { readonly kind: "arm" }): void {
    const { clock, random, limits, changed } = this.#context;
    const { timers, machine } = this.#host;
    switch (timer) {
      case "wake":
        return timers.arm(timer, after ?? limits().wakeTimeout, () => {
          const seconds = limits().wakeTimeout / 1000;
          const error = new AppError("PM03", `the Machine did not start within ${seconds} s`);
          if (this.#host.state.kind === "starting") this.#host.failed(error);
          this.#host.dispatch({ kind: "wake-timeout", generation, error });
        });
      case "drain":
        this.drainUntil = (clock.now() + limits().drainTimeout) as Monotonic;
        return timers.arm(timer, limits().drainTimeout, () =>
          this.#host.dispatch({ kind: "drain-timeout", generation }),
        );
      case "restart":
        // A little late by chance, so that a hundred Machines that fell together do not rise together.
        return timers.arm(timer, ((after ?? 0) * (1 + random() / 10)) as Milliseconds, () =>
          this.#host.dispatch({ kind: "restart-due" }),
        );
      case "retry":
        return timers.arm(timer, after ?? (0 as Milliseconds), () => changed(machine.app));
      default:
        return assertNever(timer);
    }
  }
}
