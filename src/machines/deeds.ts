import { sleep } from "../core/clock.ts";
import { AppError, toAppError } from "../core/errors.ts";
import { ms, type Milliseconds } from "../core/units.ts";
import type { Signal } from "../config/model.ts";
import type { Machine } from "../registry/model.ts";
import type { Exit } from "./driver.ts";
import type { AfterExit, LifeEvent, MachineState } from "./state.ts";
import type { SupervisorContext } from "./supervisor-context.ts";

export interface DeedsHost {
  readonly machine: Machine;
  readonly state: MachineState;
  readonly closed: boolean;
  afterExit(): AfterExit;
  noteExit(exit: Exit): void;
  dispatch(event: LifeEvent): void;
}

// A driver that cannot stop a Machine is asked again, with SIGKILL, for as long as it takes.
const STOP_AGAIN = ms(1_000);
/** Ends what may be left of a Machine. */
export const KILL = { signal: "SIGKILL", timeout: ms(0) } as const;

/** Calls the driver for one Machine and turns what comes of it into events. Each event carries its generation. */
export class Deeds {
  readonly #host: DeedsHost;
  readonly #context: SupervisorContext;
  #releasing: Promise<void> | undefined;

  constructor(host: DeedsHost, context: SupervisorContext) {
    this.#host = host;
    this.#context = context;
  }

  async start(generation: number, clean: boolean): Promise<void> {
    const { driver } = this.#context;
    const { machine } = this.#host;
    try {
      if (clean) await this.#stopped(KILL);
      await this.#releasing;
      const env = await this.#context.environment(machine);
      // A stop may have come while the environment was being made: then there is nothing to start.
      if (this.#host.state.kind !== "starting" || this.#host.closed) throw new AppError("PM10"); // guard: cancelled-start
      const { pid } = await driver.start(machine, generation, env);
      this.#host.dispatch({ kind: "driver-started", generation, pid });
    } catch (thrown) {
      const error = startError(thrown);
      this.#host.dispatch({ kind: "start-failed", generation, error, after: this.#host.afterExit() });
    }
  }

  async resume(generation: number): Promise<void> {
    const { id } = this.#host.machine;
    const { state } = this.#host;
    const pid = state.kind === "starting" ? state.pid : undefined;
    try {
      await this.#context.driver.resume(id);
      this.#host.dispatch({ kind: "driver-started", generation, pid });
    } catch (thrown) {
      const error = startError(thrown);
      this.#context.log.warn({ machine: id, err: error }, "a suspended Machine could not be resumed: it boots instead");
      this.#host.dispatch({ kind: "start-failed", generation, error, after: this.#host.afterExit() });
    }
  }

  async stop(generation: number, signal: Signal | undefined, timeout: Milliseconds | undefined): Promise<void> {
    const { stop } = this.#host.machine.config;
    const exit = await this.#stopped({ signal: signal ?? stop.signal, timeout: timeout ?? stop.timeout });
    if (exit !== undefined) this.#host.noteExit(exit);
    this.#host.dispatch({ kind: "driver-stopped", generation });
  }

  /** Comes back only when nothing of the Machine runs any more (or the node goes, and it does not matter here). */
  async #stopped(first: { readonly signal: Signal; readonly timeout: Milliseconds }): Promise<Exit | undefined> {
    const { id } = this.#host.machine;
    for (let how = first; !this.#host.closed; how = KILL) {
      try {
        return await this.#context.driver.stop(id, how);
      } catch (thrown) {
        const error = toAppError(thrown, "PM07");
        this.#context.log.error({ machine: id, err: error }, "the Machine could not be stopped; trying again");
        await sleep(this.#context.clock, STOP_AGAIN);
      }
    }
    return undefined;
  }

  async suspend(generation: number): Promise<void> {
    const { id } = this.#host.machine;
    try {
      await this.#context.driver.suspend(id);
      this.#host.dispatch({ kind: "driver-suspended", generation });
    } catch (thrown) {
      this.#context.log.warn(
        { machine: id, err: toAppError(thrown, "PM07") },
        "suspend failed: the Machine is stopped",
      );
      this.#host.dispatch({ kind: "suspend-failed", generation });
    }
  }

  /** Lets go of what a Machine that sleeps holds. A start that comes meanwhile waits until that is done. */
  async release(): Promise<void> {
    const { id } = this.#host.machine;
    this.#releasing = this.#context.driver.release(id).catch((thrown: unknown) => {
      this.#context.log.warn(
        { machine: id, err: toAppError(thrown, "PM07") },
        "a sleeping Machine's place was not given back",
      );
    });
    await this.#releasing;
    this.#releasing = undefined;
  }

  async remove(): Promise<void> {
    const { id } = this.#host.machine;
    try {
      await this.#releasing;
      await this.#context.driver.release(id);
      await this.#context.driver.remove(id);
      await this.#context.forget(id);
      this.#host.dispatch({ kind: "removed" });
    } catch (thrown) {
      this.#context.log.error({ machine: id, err: toAppError(thrown, "PM07") }, "the Machine could not be removed");
      await sleep(this.#context.clock, STOP_AGAIN);
      if (!this.#host.closed) await this.remove();
    }
  }
}

/** Whatever kept a Machine from starting is PM02, with the cause in words; a cancelled start stays PM10. */
function startError(thrown: unknown): AppError {
  if (thrown instanceof AppError && (thrown.code === "PM02" || thrown.code === "PM10")) return thrown;
  return new AppError("PM02", thrown instanceof Error ? thrown.message : String(thrown), { cause: thrown });
}
