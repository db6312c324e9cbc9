/** Reaching every process of a Machine: to stop them where they stand, and to end them. */
import { sleep, type Clock } from "../../core/clock.ts";
import { AppError } from "../../core/errors.ts";
import { ms, type Milliseconds } from "../../core/units.ts";
import type { Place } from "../../network/plane.ts";
import { familyOf, isLiving, readProcess, trySignal, type FamilyMark } from "./processes.ts";

export interface Member {
  readonly pid: number;
  /** As it was just before the signal; see `ProcessInfo`. */
  readonly state: string;
}

/** Sends a signal, or with none only looks, to every living process of one Machine and tells whom it found. */
export type SignalMembers = (signal: NodeJS.Signals | undefined) => Promise<readonly Member[]>;

/** By namespace, which is complete whatever the processes do. */
export function membersOfPlace(place: Place): SignalMembers {
  // A promise to the caller, but the look and the signal are one step: no pid changes hands in between.
  return (signal) =>
    Promise.resolve(
      signalEach(
        (place.members() ?? []).flatMap((pid) => readProcess(pid) ?? []),
        signal,
      ),
    );
}

/** By session, descent and environment, looked for by this process. */
export function membersOfFamily(mark: FamilyMark): SignalMembers {
  return (signal) => Promise.resolve(signalEach(familyOf(mark), signal));
}

function signalEach(found: readonly Member[], signal: NodeJS.Signals | undefined): readonly Member[] {
  const living = found.filter(isLiving);
  if (signal !== undefined) for (const { pid } of living) trySignal(pid, signal);
  return living;
}

/** Kills until nobody is left. True when that is so; false when somebody still is after `patience`. */
export async function killAll(members: SignalMembers, clock: Clock, patience: Milliseconds): Promise<boolean> {
  const until = clock.now() + patience;
  for (let pause = 1; ; pause = Math.min(50, pause * 2)) {
    if ((await members("SIGKILL")).length === 0) return true;
    if (clock.now() >= until) return false;
    await sleep(clock, ms(pause));
  }
}

/**
 * Stops every process where it stands. A process may fork between the look and the signal, so it is done again until a
 * look finds nobody new and nobody who still ran. @errors PM07 when that does not come about in time; everybody then goes on
 */
export async function freezeAll(members: SignalMembers, clock: Clock): Promise<void> {
  const until = clock.now() + FREEZE_PATIENCE;
  let before = new Set<number>();
  for (let pause = 1; ; pause = Math.min(20, pause * 2)) {
    const found = await members("SIGSTOP");
    const restless = found.filter(({ pid, state }) => !before.has(pid) || !STANDS.has(state));
    if (restless.length === 0) return;
    if (clock.now() >= until) {
      await members("SIGCONT");
      const pids = restless.map(({ pid, state }) => `${pid} (${state})`);
      throw new AppError("PM07", `could not suspend every process of the Machine: ${pids.join(", ")} went on`);
    }
    before = new Set(found.map((member) => member.pid));
    await sleep(clock, ms(pause));
  }
}

const FREEZE_PATIENCE = 2000;
/**
 * Stopped, or in the kernel with SIGSTOP waiting at the way out, so that none of its own code runs either. A shell that
 * has just called vfork stays there for as long as its child, which we have stopped before its exec.
 */
const STANDS: ReadonlySet<string> = new Set(["T", "t", "D"]);

/** The reverse. SIGCONT to one that runs does nothing, so once is enough. */
export async function thawAll(members: SignalMembers): Promise<void> {
  await members("SIGCONT");
}
