import type { Clock } from "../core/clock.ts";
import type { AppName, MachineId } from "../core/ids.ts";
import type { Milliseconds } from "../core/units.ts";
import type { Machine, MachineStatus } from "../registry/model.ts";
import type { MachineDriver } from "./driver.ts";
import type { MachineEvent } from "./events.ts";
import type { Probe } from "./health.ts";
import type { MachinesLog } from "./machines.ts";
import type { StartSlots } from "./start-slots.ts";

/** What all supervisors of a node share. */
export interface SupervisorContext {
  readonly driver: MachineDriver;
  readonly clock: Clock;
  /** 0 to 1; spreads restarts. */
  readonly random: () => number;
  readonly slots: StartSlots;
  readonly probe: Probe;
  readonly log: MachinesLog;
  readonly limits: () => { readonly wakeTimeout: Milliseconds; readonly drainTimeout: Milliseconds };
  readonly environment: (machine: Machine) => Promise<Readonly<Record<string, string>>>;
  readonly emit: (event: MachineEvent) => void;
  readonly publish: (id: MachineId, status: MachineStatus) => void;
  /** The state of a Machine is another one now. */
  readonly moved: (id: MachineId) => void;
  /** A claim on a Machine of this app may go through now. */
  readonly changed: (app: AppName) => void;
  /** A claim was refused for want of a start slot: its app wants to know when one is free. */
  readonly wantsSlot: (app: AppName) => void;
  /** `min_machines_running` wants this one: too few others of its group run. */
  readonly isNeeded: (machine: Machine) => boolean;
  readonly isSuspended: (machine: MachineId) => boolean;
  /** Nothing of it is left: the catalogue may forget it. */
  readonly forget: (id: MachineId) => Promise<void>;
}
