/** The embedded driver, as the composition root and the API see it. */
import type { Clock } from "../../core/clock.ts";
import type { AppName, MachineId } from "../../core/ids.ts";
import type { Milliseconds } from "../../core/units.ts";
import type { NetworkPlane, PlaceRequest } from "../../network/plane.ts";
import type { Machine } from "../../registry/model.ts";
import type { Exit, MachineDriver } from "../driver.ts";
import type { ExecOrder, ExecResult } from "./exec.ts";
import type { LogOptions, Lot } from "./log-reader.ts";
import type { Freezer } from "./standstill.ts";

/** As pino's. */
export interface DriverLog {
  info(details: object, message: string): void;
  warn(details: object, message: string): void;
}

export interface ProcessDriverOptions {
  readonly plane: NetworkPlane;
  /** The node's state folder, absolute. Everything of this driver is below `machines/` in it; Machines never see it. */
  readonly stateDir: string;
  readonly clock: Clock;
  /** Shown in every Machine that has a mount namespace of its own, such as `/.fly/fly-src.pub`. @default none */
  readonly files?: PlaceRequest["files"];
  /** Host mode: Machines go on when the node ends, and are found again. Otherwise they end with it, however it ends. */
  readonly outlive: boolean;
  readonly log: DriverLog;
  /** What an app asks for and does not get here; each message once. @default logged as a warning */
  readonly onNotice?: (app: AppName, message: string) => void;
  /** How Machines are suspended. @default the freezer of control groups where the kernel lets us, else signals */
  readonly freezer?: "signals" | undefined;
}

export interface ProcessDriver extends MachineDriver {
  /** The last lines of output, oldest first, to explain a failure. At most 64 KiB. */
  tail(id: MachineId, lines: number): readonly string[];
  /** Lines of output as `2026-01-01T00:00:00.000Z text`: the last `lines`, then, with `follow`, whatever comes until `signal`. */
  readLog(id: MachineId, options: LogOptions): AsyncIterable<string>;
  /** For readers that come again and again: what came since a position, or the last lines. */
  logSince(id: MachineId, position: number | undefined, lines: number): Lot;
  /**
   * Runs a command to its end in a Machine of its own (`release_command`). `machine` has an id that nothing else uses; its
   * place and output are left for the caller to look at and `remove`. Killed after `timeout`: then `timedOut`.
   * @errors PM02
   */
  runOnce(
    machine: Machine,
    argv: readonly string[],
    env: Readonly<Record<string, string>>,
    timeout: Milliseconds,
  ): Promise<{ readonly exit: Exit; readonly timedOut: boolean; readonly tail: readonly string[] }>;
  /** Runs a command beside the main process: in its place and folder, as its user. @errors conflict when it does not run, PM02 */
  exec(machine: Machine, order: ExecOrder): Promise<ExecResult>;
  /** Every process of a Machine, by the ids that this process knows; empty when it does not run. */
  processes(id: MachineId): readonly number[];
  readonly freezer: Freezer;
}
