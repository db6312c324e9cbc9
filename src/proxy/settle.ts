import type { AppError } from "../core/errors.ts";
import type { MachineId } from "../core/ids.ts";
import type { Settlement, Work } from "./context.ts";
import type { Phases } from "./phases.ts";

/** The end of a piece of work, told once to whoever counts and logs. Never throws: nothing must keep a claim. */
export function settle(
  phases: Pick<Phases, "onSettled" | "log">,
  outcome: {
    readonly work?: Work | undefined;
    readonly machine?: MachineId | undefined;
    readonly error?: AppError | undefined;
    readonly bytesIn?: number;
    readonly bytesOut?: number;
  },
): void {
  const settlement: Settlement = {
    work: outcome.work,
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
