import type { MachineId } from "../core/ids.ts";
import type { ChangeFeed } from "../registry/view.ts";
import type { MachineStatus } from "../registry/model.ts";
import type { MachineHistoryEntry } from "./platform-json.ts";

// Enough for people and for clients that look for the last start; one Machine may not fill the memory.
const KEPT = 20;

/** The last things that happened to each Machine, newest first, made from the changes of its state. */
export class History {
  readonly #events = new Map<MachineId, MachineHistoryEntry[]>();
  #sequence = 0;

  constructor(changes: ChangeFeed) {
    changes.subscribe((change) => {
      if (change.kind === "machine" && change.gone) this.#events.delete(change.id);
      if (change.kind === "status") this.#add(change.id, change.status);
    });
  }

  of(id: MachineId): readonly MachineHistoryEntry[] {
    return this.#events.get(id) ?? [];
  }

  #add(id: MachineId, status: MachineStatus): void {
    const type = TYPES[status.state];
    const list = this.#events.get(id) ?? [];
    if (type === undefined || list[0]?.status === status.state) return;
    const exit = status.lastExit;
    list.unshift({
      id: String(++this.#sequence).padStart(12, "0"),
      type,
      status: status.state,
      source: "flyd",
      timestamp: status.since,
      ...(status.state === "stopped" && exit !== undefined
        ? {
            request: {
              exit_event: {
                exit_code: exit.code ?? -1,
                signal: exit.signal ?? "",
                requested_stop: status.because !== "",
                exited_at: new Date(exit.at).toISOString(),
              },
            },
          }
        : {}),
    });
    list.length = Math.min(list.length, KEPT);
    this.#events.set(id, list);
  }
}

const TYPES: Partial<Record<MachineStatus["state"], MachineHistoryEntry["type"]>> = {
  starting: "start",
  started: "start",
  stopping: "stop",
  stopped: "exit",
  failed: "exit",
  suspended: "suspend",
};
