import type { Clock } from "../core/clock.ts";
import type { AppError } from "../core/errors.ts";
import type { Monotonic } from "../core/units.ts";
import type { MachineStatus } from "../registry/model.ts";
import type { Exit, RecoveredMachine } from "./driver.ts";
import { describeExit, describeFailure } from "./endings.ts";
import type { LastKnown } from "./memory.ts";
import type { LifeEvent } from "./state.ts";

/** How a Machine ended last, and what failed last, as people are told; and what an earlier life of the node knew of it. */
export class LastEnds {
  exit: MachineStatus["lastExit"];
  failure: MachineStatus["lastFailure"];
  readonly #clock: Clock;
  #noted = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The first report of each process counts: a second stop sees only that there is nothing left. */
  exited(process: number, exit: Exit): void {
    if (this.#noted === process) return;
    this.#noted = process;
    this.#note(exit);
  }

  failed(error: AppError): void {
    this.failure = { code: error.code, message: describeFailure(error), at: this.#clock.wall() };
  }

  /** It runs on, or stands still, from an earlier life of the node. */
  recovered({ generation, pid, suspended }: RecoveredMachine, known: LastKnown | undefined): LifeEvent {
    this.#recall(known);
    const sleeps = suspended && known?.state === "suspended" && known.generation === generation;
    return { kind: "recovered", generation, pid, suspended, because: sleeps ? known.because : undefined };
  }

  /** It has come to rest in an earlier life of the node, or by that one's end. `exit`: what the driver knows of its end. */
  remembered(known: LastKnown, exit: Exit): LifeEvent {
    this.#recall(known);
    const { generation } = known;
    const now = this.#clock.now();
    if (known.state === "stopped" || known.state === "failed") {
      const since = (now - Math.max(0, this.#clock.wall() - known.since)) as Monotonic;
      return { kind: "remembered", generation, because: known.because, since };
    }
    // When, nobody saw: we find it so.
    const seen = exit.code !== undefined || exit.signal !== undefined;
    if (seen) this.#note(exit);
    const because = seen
      ? `it ended while the node was away: ${describeExit(exit)}`
      : "it ended with the node, or while that was away";
    return { kind: "remembered", generation, because, since: now };
  }

  #note({ code, signal }: Exit): void {
    this.exit = { code, signal, at: this.#clock.wall() };
  }

  #recall(known: LastKnown | undefined): void {
    this.exit = known?.lastExit;
    this.failure = known?.lastFailure;
  }
}
