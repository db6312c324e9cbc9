/** What a node knows of its Machines from its earlier lives. Declared here; files in drivers/state-files.ts. */
import type { MachineId } from "../core/ids.ts";
import type { WallTime } from "../core/units.ts";
import type { MachineStatus } from "../registry/model.ts";

/** How a Machine was when it last came to rest, or to life. */
export interface LastKnown extends Pick<MachineStatus, "generation" | "because" | "lastExit" | "lastFailure"> {
  readonly state: "started" | "suspended" | "stopped" | "failed";
  readonly since: WallTime;
}

export interface MachineMemory {
  /** Undefined: it has never run, or nobody remembers. */
  recall(id: MachineId): LastKnown | undefined;
  /** Soon, not at once: no wake and no stop waits for it. After a power loss, or in the moment before a crash, it may be lost. */
  note(id: MachineId, known: LastKnown): void;
}

/** Undefined: a state on the way to another one, which is not worth a file. */
export function lastKnown(status: MachineStatus): LastKnown | undefined {
  const { state, generation, since, because, lastExit, lastFailure } = status;
  switch (state) {
    case "started":
    case "suspended":
    case "stopped":
    case "failed":
      return { state, generation, since, because, lastExit, lastFailure };
    case "created":
    case "starting":
    case "draining":
    case "stopping":
    case "suspending":
    case "destroying":
    case "destroyed":
      return undefined;
  }
}
