/** One run of a Machine, from start to exit, as the driver remembers it. */
import { sleep, type Clock, type Timer } from "../../core/clock.ts";
import type { MachineId } from "../../core/ids.ts";
import { ms, type Milliseconds } from "../../core/units.ts";
import type { Place } from "../../network/plane.ts";
import type { Exit } from "../driver.ts";
import { readLife } from "./life-file.ts";
import { isSameProcess, readProcess } from "./processes.ts";

/** How it is kept from running: its control group is frozen, or each process has been sent SIGSTOP. */
export type Suspension = "frozen" | "stopped";

export interface Life {
  readonly id: MachineId;
  readonly generation: number;
  readonly place: Place;
  /** Undefined: not, or no longer, a child of our starter. It is then watched by pid and start time. */
  key: number | undefined;
  pid: number;
  startTime: number;
  stopping: boolean;
  suspended: Suspension | undefined;
  /** Until its processes are to be moved into a group of their own. */
  joins: Timer | undefined;
  /** Settles when they are, or will not be. */
  held: Promise<unknown>;
  /** Settles when the start has been answered; an exit is told only after that. */
  begun: Promise<unknown>;
  readonly ended: Promise<Exit>;
  settle(exit: Exit): void;
}

export const NOBODY_SAW: Exit = { code: undefined, signal: undefined };

export function newLife(id: MachineId, generation: number, place: Place, key: number | undefined): Life {
  let settle: (exit: Exit) => void = () => {};
  const ended = new Promise<Exit>((resolve) => (settle = resolve));
  const fresh = { pid: 0, startTime: 0, stopping: false, suspended: undefined, joins: undefined };
  const [begun, held] = [Promise.resolve(), Promise.resolve()];
  return { id, generation, place, key, ...fresh, begun, held, ended, settle };
}

/** Whether it ends within a time. */
export function endsWithin(life: Life, time: Milliseconds, clock: Clock): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = clock.after(time, () => resolve(false));
    void life.ended.then(() => {
      timer.cancel();
      resolve(true);
    });
  });
}

/**
 * Resolves when the main process has ended, for a life whose starter does not report to us. The kernel tells only
 * parents, so the process is looked at: four times a second, and all the time while it is being stopped.
 */
export async function watchMain(life: Life, clock: Clock, given: { readonly up: boolean }): Promise<void> {
  while (!given.up && isSameProcess(life.pid, life.startTime)) await sleep(clock, ms(life.stopping ? 5 : 250));
}

/** The exit that the starter wrote down. It does so at once when it reaps; we may be quicker by a moment. */
export async function recordedExit(life: Life, folder: string, clock: Clock): Promise<Exit> {
  for (let attempt = 0; attempt < 20; attempt++) {
    const record = readLife(folder);
    if (record?.generation !== life.generation) break;
    if (record.exit !== undefined) return record.exit;
    if (readProcess(record.starter) === undefined) break;
    await sleep(clock, ms(10));
  }
  return NOBODY_SAW;
}
