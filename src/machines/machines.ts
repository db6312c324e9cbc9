/** The Machines of this node, as the API, the CLI and the composition root see them. */
import type { Clock } from "../core/clock.ts";
import type { MachineId } from "../core/ids.ts";
import type { Milliseconds } from "../core/units.ts";
import type { Limits, Signal } from "../config/model.ts";
import type { Machine, MachineStateKind } from "../registry/model.ts";
import type { Registry } from "../registry/commands.ts";
import type { MachineDriver } from "./driver.ts";
import type { MachineEvent } from "./events.ts";
import type { MachineMemory } from "./memory.ts";
import type { Probe } from "./health.ts";
import type { MachinePool } from "./pool.ts";
import type { Receipt } from "./receipts.ts";
import type { Holder, WhyReport } from "./why.ts";

/** What is logged here; a pino logger is one. */
export interface MachinesLog {
  info(details: object, message: string): void;
  warn(details: object, message: string): void;
  error(details: object, message: string): void;
}

export type MachineLimits = Pick<Limits, "wakeTimeout" | "starts" | "perNetwork" | "drainTimeout">;

export interface AutostopSettings {
  /** Time between passes. */
  readonly interval: Milliseconds;
  /** A Machine sleeps only when its last claim ended, and it was started, at least this long ago. */
  readonly idle: Milliseconds;
}

export interface MachinesOptions {
  readonly registry: Registry;
  readonly driver: MachineDriver;
  readonly clock: Clock;
  /** 0 to 1. */
  readonly random: () => number;
  readonly limits: MachineLimits;
  readonly autostop: AutostopSettings;
  /** The complete environment of a Machine, made at each start. A rejection is a failed start (PM02) with its message. */
  readonly environment: (machine: Machine) => Promise<Readonly<Record<string, string>>>;
  /** How checks are run. Default: `probe.ts`, over real sockets. */
  readonly dialCheck?: Probe | undefined;
  /** What this node knew of them in an earlier life. @default nothing */
  readonly memory?: MachineMemory | undefined;
  /** Which Machines are this node's. Default: all. */
  readonly owns?: ((machine: Machine) => boolean) | undefined;
  readonly onEvent: (event: MachineEvent) => void;
  readonly log: MachinesLog;
}

export interface StopOptions {
  readonly because: string;
  /** Default: the Machine's own. */
  readonly signal?: Signal | undefined;
  readonly timeout?: Milliseconds | undefined;
  /** Whether claims may finish first, for at most the drain timeout. Default: true. */
  readonly drain?: boolean | undefined;
}

export interface SleepWish {
  readonly generation: number;
  readonly action: "stop" | "suspend";
  readonly because: string;
}

/** What a command ended by force. Empty when everything ended by itself. */
export interface Cut {
  readonly cut: readonly Holder[];
}

/** Commands reject with `not_found` for a Machine that is not here, and `conflict` where they make no sense. */
export interface Machines extends MachinePool {
  /** Resolves when the driver has started it (whether it answers is for others to find out). @errors PM02, PM10, PM03 */
  start(id: MachineId, because: string): Promise<void>;
  /** Resolves when nothing of it runs any more. The next connection may wake it again. */
  stop(id: MachineId, options: StopOptions): Promise<Cut>;
  /** Resolves when it stands still; falls back to a stop where the driver cannot. */
  suspend(id: MachineId, because?: string): Promise<Cut>;
  /** Resolves when it runs again. */
  restart(id: MachineId, options?: Partial<StopOptions>): Promise<Cut>;
  /** Without `force` only a Machine that does not run (`conflict`). Also takes it out of the registry. */
  destroy(id: MachineId, options: { readonly force: boolean; readonly because?: string | undefined }): Promise<void>;
  /**
   * Autostop's wish, from whoever decides for the Machine's region: its owner has the last word. False: refused, for the
   * Machine is in use, has begun another life, or does not run.
   */
  propose(id: MachineId, wish: SleepWish): boolean;
  why(id: MachineId): WhyReport;
  /** Of the wake that goes on, else of the last one. */
  receipt(id: MachineId): Receipt | undefined;
  holders(id: MachineId): readonly Holder[];
  /** Resolves when it is in one of the states. @errors timeout, not_found */
  wait(id: MachineId, states: readonly MachineStateKind[], timeout: Milliseconds): Promise<void>;
  /** For reload: from the next decision on. */
  setAutostop(settings: AutostopSettings): void;
  setLimits(limits: MachineLimits): void;
  /**
   * Starts what should run: `min_machines_running` in the primary region, and everything that no connection can wake.
   * Never rejects: a failed start is an event, and its Machine retried by its policy.
   */
  up(): Promise<void>;
  /** Finds the Machines that ran on while the node was away (host mode). Call before anything else. */
  recover(): Promise<void>;
  /** Stops every Machine. A second call with `drain: false` cuts what the first one waits for. */
  shutdown(options: { readonly drain: boolean }): Promise<Cut>;
  /** Stops watching, and leaves the Machines as they are (host mode). */
  close(): void;
}
