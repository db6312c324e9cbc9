/** What actually starts and stops Machines. Declared here, implemented in drivers/; every driver passes test/machines/driver.contract.ts. */
import type { MachineId } from "../core/ids.ts";
import type { Signal } from "../config/model.ts";
import type { Milliseconds, Port } from "../core/units.ts";
import type { DialAddress } from "../network/plane.ts";
import type { Machine } from "../registry/model.ts";

/** How a Machine's main process ended. Exactly one of the two is set; neither when nobody could see it. */
export interface Exit {
  readonly code: number | undefined;
  readonly signal: string | undefined;
  /** The last lines that it printed, where they may tell why it ended by itself. For the log and for people, not for clients. */
  readonly lastWords?: readonly string[];
}

export interface StartedMachine {
  /** Process id as the node sees it. Undefined for drivers without processes. */
  readonly pid: number | undefined;
}

export interface MachineDriver {
  /**
   * Starts the main process. Resolves when it exists; that it listens is for others to find out. `generation` comes back
   * with the exit, so that the end of an earlier life is never taken for the end of this one. `env` is complete: FLY_*
   * variables, secrets and references filled in.
   * @errors PM02 with the cause in plain words: program not found, folder missing, not executable.
   */
  start(machine: Machine, generation: number, env: Readonly<Record<string, string>>): Promise<StartedMachine>;
  /**
   * Sends `signal` to the main process, waits at most `timeout`, then kills everything that is left in the Machine.
   * Resolves when nothing of it runs any more. Safe to call when it has already ended.
   */
  stop(id: MachineId, how: { readonly signal: Signal; readonly timeout: Milliseconds }): Promise<Exit>;
  /** Sends a signal to the main process and nothing more. */
  signal(id: MachineId, signal: NodeJS.Signals): Promise<void>;
  /** Stops every process of the Machine where it stands, memory kept. Rejects (PM07) where that cannot be done completely. */
  suspend(id: MachineId): Promise<void>;
  resume(id: MachineId): Promise<void>;
  /** Where a port of the Machine is reached, best first. Meaningful while it runs. */
  endpoint(machine: Machine, port: Port): readonly DialAddress[];
  /** Calls back once for each generation that ended, by itself or by `stop`. */
  observe(onExit: (id: MachineId, generation: number, exit: Exit) => void): () => void;
  /** Machines that still run from an earlier life of the node (host mode). Called once, before anything is started. */
  recover(machines: readonly Machine[]): Promise<readonly RecoveredMachine[]>;
  /** Gives back what a stopped Machine holds (namespaces, link). It is made again at the next start. */
  release(id: MachineId): Promise<void>;
  /** Removes all that is left of a destroyed Machine, logs included. */
  remove(id: MachineId): Promise<void>;
  /** Path of the file (and its predecessors, oldest first) that output goes to. */
  logFiles(id: MachineId): readonly string[];
  close(): Promise<void>;
}

export interface RecoveredMachine {
  readonly id: MachineId;
  readonly generation: number;
  readonly pid: number;
  readonly suspended: boolean;
}
