import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/errors.ts";
import type { MachineId } from "../core/ids.ts";
import type { Milliseconds } from "../core/units.ts";
import { publicState } from "../registry/model.ts";
import type { Registry } from "../registry/commands.ts";

/** The states in which a Machine stays (reference §10.4). `settled` stands for any of them. */
const SETTLED: ReadonlySet<string> = new Set(["created", "started", "stopped", "suspended", "failed", "destroyed"]);
/** What a client may wait for. */
export const WAITABLE: readonly string[] = [...SETTLED, "settled", "replaced"];

/** A command that the API began, and the state that clients see until it is done. */
type Passing = "restarting" | "replacing";

/**
 * The states of Machines as clients of the platform see them. A Machine that gets a new version, or a new life, is neither
 * started nor settled before that has come about, also while its old life still serves.
 */
export class MachineStates {
  readonly #registry: Registry;
  readonly #clock: Clock;
  readonly #passing = new Map<MachineId, Passing>();
  readonly #watchers = new Set<(id: MachineId) => void>();

  constructor(registry: Registry, clock: Clock) {
    this.#registry = registry;
    this.#clock = clock;
    registry.changes.subscribe((change) => {
      if (change.kind === "status" || change.kind === "machine") this.#moved(change.id);
    });
  }

  of(id: MachineId): string {
    if (this.#registry.view.machine(id) === undefined) return "destroyed";
    const state = publicState(this.#registry.view.status(id).state);
    // A failed start ends the passage, though the command may go on trying.
    return state === "failed" ? state : (this.#passing.get(id) ?? state);
  }

  /** The Machine is on its way until the work has ended, in whatever way. */
  async during<T>(id: MachineId, passing: Passing, work: Promise<T>): Promise<T> {
    this.#passing.set(id, passing);
    try {
      return await work;
    } finally {
      this.#passing.delete(id);
      this.#moved(id);
    }
  }

  /** Resolves when the Machine is in one of the states, or nobody waits any longer. @errors timeout */
  async wait(id: MachineId, states: ReadonlySet<string>, timeout: Milliseconds, signal: AbortSignal): Promise<void> {
    const reached = (): boolean => {
      const state = this.of(id);
      return states.has(state) || (states.has("settled") && SETTLED.has(state));
    };
    if (reached() || signal.aborted) return;
    await new Promise<void>((resolve, reject) => {
      const finish = (): void => {
        timer.cancel();
        this.#watchers.delete(watcher);
        signal.removeEventListener("abort", left);
      };
      const left = (): void => {
        finish();
        resolve();
      };
      const watcher = (moved: MachineId): void => {
        if (moved !== id || !reached()) return;
        left();
      };
      const timer = this.#clock.after(timeout, () => {
        finish();
        // The platform's client looks for exactly this text (reference §10.3).
        reject(new AppError("timeout", "machine failed to reach desired state"));
      });
      this.#watchers.add(watcher);
      signal.addEventListener("abort", left, { once: true });
    });
  }

  #moved(id: MachineId): void {
    for (const watcher of this.#watchers) watcher(id);
  }
}
