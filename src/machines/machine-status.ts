import type { Clock } from "../core/clock.ts";
import type { WallTime } from "../core/units.ts";
import type { MachineStatus } from "../registry/model.ts";
import type { ServiceSlot } from "./service-slot.ts";
import type { MachineState } from "./state.ts";

/** A Machine's state as the registry shows it to everybody else. */
export function describeStatus(
  state: MachineState,
  clock: Clock,
  known: Pick<MachineStatus, "checks" | "lastExit" | "lastFailure"> & { readonly slots: Iterable<ServiceSlot> },
): MachineStatus {
  const unhealthyPorts = new Set<number>();
  for (const slot of known.slots) if (slot.unhealthy) unhealthyPorts.add(slot.port);
  return {
    state: state.kind,
    generation: state.generation,
    since: (clock.wall() - (clock.now() - state.since)) as WallTime,
    sinceMonotonic: state.since,
    because: state.because,
    pid: "pid" in state ? state.pid : undefined,
    checks: known.checks,
    unhealthyPorts,
    lastExit: known.lastExit,
    lastFailure: known.lastFailure,
  };
}
