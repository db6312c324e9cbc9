import type { Clock } from "../core/clock.ts";
import type { AppError, ErrorCode } from "../core/errors.ts";
import type { MachineId } from "../core/ids.ts";
import type { Monotonic } from "../core/units.ts";
import type { Settlement, Work } from "./context.ts";
import type { Log, Phases } from "./phases.ts";

/** The end of a piece of work, told once to whoever counts, and logged. Never throws: nothing must keep a claim. */
export function settle(
  phases: Pick<Phases, "onSettled" | "log">,
  outcome: {
    readonly work?: Work | undefined;
    readonly subject?: NonNullable<Settlement["subject"]>;
    readonly machine?: MachineId | undefined;
    readonly error?: AppError | undefined;
    readonly bytesIn?: number;
    readonly bytesOut?: number;
  },
): void {
  const settlement: Settlement = {
    work: outcome.work,
    ...(outcome.subject !== undefined && { subject: outcome.subject }),
    machine: outcome.machine,
    error: outcome.error,
    code: outcome.error?.code,
    bytesIn: outcome.bytesIn ?? 0,
    bytesOut: outcome.bytesOut ?? 0,
    status: undefined,
  };
  try {
    phases.onSettled(settlement);
  } catch (thrown) {
    phases.log.error({ err: thrown }, "counting the end of a connection failed");
  }
}

const LINES_A_SECOND = 10;

/**
 * Logs how connections end: failures of Machines and of the proxy as warnings, what clients did to themselves as
 * information, the rest for who debugs. A flood of one kind costs ten lines a second and a number.
 */
export class SettlementLog {
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #seconds = new Map<ErrorCode, { begun: Monotonic; lines: number; suppressed: number }>();

  constructor(log: Log, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  write(settlement: Settlement): void {
    const { error } = settlement;
    if (error === undefined) return this.#log.debug(about(settlement), "connection");
    const suppressed = this.#take(error.code);
    if (suppressed === undefined) return;
    const details = {
      code: error.code,
      ...about(settlement),
      ...error.details,
      ...(error.cause instanceof Error && { cause: error.cause.message }),
      ...(suppressed > 0 && { suppressed }),
    };
    if (error.source === "downstream") this.#log.info(details, error.message);
    else this.#log.warn(details, error.message);
  }

  /** How many lines of this kind were left out before this one; undefined: this one is left out, too. */
  #take(code: ErrorCode): number | undefined {
    const now = this.#clock.now();
    const known = this.#seconds.get(code);
    if (known === undefined || now - known.begun >= 1000) {
      this.#seconds.set(code, { begun: now, lines: 1, suppressed: 0 });
      return known?.suppressed ?? 0;
    }
    if (known.lines < LINES_A_SECOND) {
      known.lines++;
      return 0;
    }
    known.suppressed++;
    return undefined;
  }
}

function about({ work, subject = work?.connection, machine, bytesIn, bytesOut }: Settlement): object {
  return {
    app: work?.app ?? subject?.app,
    machine,
    ...(subject !== undefined && {
      caller: `[${subject.caller.address}]:${subject.caller.port}`,
      to: `[${subject.destination.address}]:${subject.destination.port}`,
    }),
    bytesIn,
    bytesOut,
  };
}
