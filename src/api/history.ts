import { constants } from "node:os";
import type { MachineId } from "../core/ids.ts";
import type { Registry } from "../registry/commands.ts";
import type { Machine, MachineStatus } from "../registry/model.ts";
import type { MachineHistoryEntry } from "./platform-json.ts";

// Enough for people and for clients that look for the last start; one Machine may not fill the memory.
const KEPT = 20;
/** Destroyed Machines that can still be asked for: clients wait for `destroyed` after the fact. */
const DEPARTED_KEPT = 200;

interface Past {
  readonly events: MachineHistoryEntry[];
  /** The version that was launched last. */
  instance: string | undefined;
  /** The exit that was known when this life began: another one at its end means that it ended by itself. */
  exitBefore: MachineStatus["lastExit"];
  endedByItself: boolean;
}

/** The last things that happened to each Machine, newest first, made from the changes of its state. Memory only. */
export class History {
  readonly #pasts = new Map<MachineId, Past>();
  /** On their way out: the catalogue still knows them. */
  readonly #leaving = new Map<MachineId, Machine>();
  readonly #departed = new Map<MachineId, Machine>();
  #sequence = 0;

  constructor({ view, changes }: Pick<Registry, "view" | "changes">) {
    changes.subscribe((change) => {
      if (change.kind === "status") {
        if (change.status.state === "destroying") {
          const machine = view.machine(change.id);
          if (machine !== undefined) this.#leaving.set(change.id, machine);
        }
        this.#follow(change.id, change.status);
      }
      if (change.kind !== "machine") return;
      if (change.gone) return this.#gone(change.id);
      const machine = view.machine(change.id);
      if (machine === undefined) return;
      const past = this.#past(change.id);
      if (past.instance === machine.instance) return;
      past.instance = machine.instance;
      this.#add(change.id, "launch", "created", machine.updatedAt);
    });
  }

  of(machine: Machine): readonly MachineHistoryEntry[] {
    const events = this.#pasts.get(machine.id)?.events ?? [];
    if (events.some((event) => event.type === "launch")) return events;
    // Clients count its starts from its launch, and take a Machine without one for broken; what is too long ago, or before
    // the node started, still happened.
    return [...events, entry("0", "launch", "created", machine.createdAt)];
  }

  /** A Machine that was destroyed not long ago. */
  departed(id: MachineId): Machine | undefined {
    return this.#departed.get(id);
  }

  /** Oldest first. */
  allDeparted(): Iterable<Machine> {
    return this.#departed.values();
  }

  #gone(id: MachineId): void {
    const machine = this.#leaving.get(id);
    this.#leaving.delete(id);
    if (machine === undefined) return void this.#pasts.delete(id);
    this.#departed.set(id, machine);
    for (const oldest of this.#departed.keys()) {
      if (this.#departed.size <= DEPARTED_KEPT) break;
      this.#departed.delete(oldest);
      this.#pasts.delete(oldest);
    }
  }

  #follow(id: MachineId, status: MachineStatus): void {
    const type = TYPES[status.state];
    if (type === undefined || this.#pasts.get(id)?.events[0]?.status === status.state) return;
    const past = this.#past(id);
    if (type === "start") {
      past.exitBefore = status.lastExit;
      past.endedByItself = false;
    } else if (status.state === "stopping") {
      past.endedByItself = status.lastExit?.at !== past.exitBefore?.at;
    }
    const exit = type === "exit" ? status.lastExit : undefined;
    const request = exit === undefined ? undefined : { exit_event: exitEvent(exit, !past.endedByItself) };
    this.#add(id, type, status.state, status.since, request);
  }

  #past(id: MachineId): Past {
    let past = this.#pasts.get(id);
    if (past === undefined) {
      past = { events: [], instance: undefined, exitBefore: undefined, endedByItself: false };
      this.#pasts.set(id, past);
    }
    return past;
  }

  #add(
    id: MachineId,
    type: MachineHistoryEntry["type"],
    status: string,
    timestamp: number,
    request?: Readonly<Record<string, unknown>>,
  ): void {
    const { events } = this.#past(id);
    events.unshift(entry(String(++this.#sequence), type, status, timestamp, request));
    events.length = Math.min(events.length, KEPT);
  }
}

function entry(
  id: string,
  type: MachineHistoryEntry["type"],
  status: string,
  timestamp: number,
  request?: Readonly<Record<string, unknown>>,
): MachineHistoryEntry {
  return {
    id: id.padStart(12, "0"),
    type,
    status,
    source: type === "launch" || status === "starting" ? "user" : "flyd",
    timestamp: Math.round(timestamp),
    ...(request === undefined ? {} : { request }),
  };
}

/** How a life ended. Signals are numbers on the wire: clients cannot read the whole Machine otherwise. */
function exitEvent(
  exit: NonNullable<MachineStatus["lastExit"]>,
  requested: boolean,
): Readonly<Record<string, unknown>> {
  const signal = exit.signal === undefined ? 0 : (SIGNAL_NUMBERS[exit.signal] ?? 0);
  const code = exit.code ?? (signal === 0 ? -1 : 128 + signal);
  return {
    exit_code: code,
    guest_exit_code: code,
    guest_signal: signal,
    signal,
    oom_killed: false,
    requested_stop: requested,
    restarting: false,
    exited_at: new Date(exit.at).toISOString(),
  };
}

const SIGNAL_NUMBERS: Readonly<Record<string, number>> = constants.signals;

const TYPES: Partial<Record<MachineStatus["state"], MachineHistoryEntry["type"]>> = {
  starting: "start",
  started: "start",
  stopping: "stop",
  stopped: "exit",
  failed: "exit",
  suspended: "suspend",
  destroying: "destroy",
  destroyed: "destroy",
};
