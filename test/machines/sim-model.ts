import type { AppError } from "../../src/core/errors.ts";
import type { AppName, MachineId } from "../../src/core/ids.ts";
import { ms, type Monotonic, type Port } from "../../src/core/units.ts";
import type { MachineEvent } from "../../src/machines/events.ts";
import type { Machines } from "../../src/machines/machines.ts";
import type { Claim } from "../../src/machines/pool.ts";
import type { FakeClock } from "../support/fake-clock.ts";
import type { FakeDriver } from "../support/fake-driver.ts";
import type { SimRandom } from "./sim-random.ts";
import type { MemoryRegistry } from "./world.ts";

/** What a client of the simulation holds, as the simulation counts it: apart from what the Machines count. */
export interface ModelClaim {
  readonly claim: Claim;
  readonly machine: MachineId;
  readonly service: Port;
  readonly since: Monotonic;
  /** The caller, where it is a Machine and the claim a connection. */
  readonly callerMachine: MachineId | undefined;
  /** It was handed an endpoint. */
  open: boolean;
}

/** The simulation's own books. What the Machines do is checked against them. */
export class SimModel {
  readonly claims = new Set<ModelClaim>();
  readonly violations: string[] = [];
  /** When the last claim on a Machine ended. */
  readonly lastEnded = new Map<MachineId, number>();
  /** Machines that a command is ending, with force after the drain. */
  commanded = new Map<MachineId, number>();

  onViolation: (what: string) => void = () => {};

  violated(what: string): void {
    this.onViolation(what);
    this.violations.push(what);
  }

  count(machine: MachineId, service?: Port): number {
    let count = 0;
    for (const one of this.claims) if (one.machine === machine && (service ?? one.service) === one.service) count++;
    return count;
  }

  granted(one: ModelClaim): void {
    this.claims.add(one);
  }

  ended(one: ModelClaim, now: number): void {
    if (!this.claims.delete(one)) return;
    this.lastEnded.set(one.machine, now);
  }

  /** A claim that was in use was taken away: only the end of the process or a command may do that. */
  lost(one: ModelClaim, error: AppError, how: { readonly excused: boolean; readonly now: number }): void {
    // A claim that did not hold the Machine up ends with its life, and says nothing of its idleness.
    if (how.excused) this.claims.delete(one);
    else this.ended(one, how.now);
    if (!one.open || how.excused) return; // a wait that ended: whether that was right, the client says
    if (error.code === "FP11" && (this.commanded.get(one.machine) ?? 0) > 0) return;
    this.violated(`a claim in use on ${one.machine} was lost: ${error.code} ${error.message}`);
  }
}

/** What may go wrong on a day. On a calm one nothing does, and then every client must be served. */
export interface Weather {
  /** Crashes, failed and endless starts, frozen Machines that do not thaw, failing checks. */
  readonly faults: boolean;
  /** Commands of operators. */
  readonly commands: boolean;
  readonly nodeDeaths: boolean;
}

export const SIM_LIMITS = { wakeTimeout: ms(20_000), starts: 3, perNetwork: 0.67, drainTimeout: ms(15_000) };
export const SIM_AUTOSTOP = { interval: ms(5_000), idle: ms(10_000) };

export interface Simulation {
  readonly random: SimRandom;
  readonly weather: Weather;
  readonly clock: FakeClock;
  readonly driver: FakeDriver;
  readonly registry: MemoryRegistry;
  readonly model: SimModel;
  readonly apps: readonly AppName[];
  readonly ids: readonly MachineId[];
  readonly events: MachineEvent[];
  /** Services whose checks fail now: `machine:port`. */
  readonly sick: Set<string>;
  /** Services that passed a check in their Machine's present process: `machine:port:pid`. */
  readonly passed: Set<string>;
  /** Lives that began by a wake: `machine:generation`. */
  readonly woken: Set<string>;
  /** The node is coming up again: nobody can reach it. */
  rebirth: boolean;
  machines: Machines;
  /** When the last start of a Machine that nobody commanded failed. */
  readonly failedAt: Map<MachineId, number>;
}
