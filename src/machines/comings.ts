/** What a node does with its Machines when it begins. */
import type { MachineId } from "../core/ids.ts";
import type { Machine } from "../registry/model.ts";
import type { RegistryView } from "../registry/view.ts";
import { floorOf, groupKey } from "./autostop-snapshot.ts";
import { KILL } from "./deeds.ts";
import type { MachineDriver } from "./driver.ts";
import type { MachineMemory } from "./memory.ts";
import type { Supervisor } from "./supervisor.ts";

/**
 * Finds those that ran on while the node was away (host mode), and remembers how the others had come to rest. To be called
 * before anything else.
 */
export async function recoverAll(
  supervisors: ReadonlyMap<MachineId, Supervisor>,
  driver: MachineDriver,
  memory: MachineMemory | undefined,
): Promise<void> {
  const found = await driver.recover([...supervisors.values()].map(({ machine }) => machine));
  for (const one of found) supervisors.get(one.id)?.recovered(one, memory?.recall(one.id));
  if (memory === undefined) return;
  for (const [id, supervisor] of supervisors) {
    const known = supervisor.state.kind === "created" ? memory.recall(id) : undefined;
    // A driver tells how it ended when it is to stop what no longer runs.
    if (known !== undefined) supervisor.remembered(known, await driver.stop(id, KILL));
  }
}

/** Those that no connection would wake, and as many as `min_machines_running` says. Resolves when all have started or failed. */
export async function startWhatShouldRun(
  all: Iterable<Supervisor>,
  up: ReadonlySet<Supervisor>,
  view: RegistryView,
): Promise<void> {
  const starts: Promise<void>[] = [];
  const running = new Map<string, number>();
  const count = (machine: Machine): number => running.get(groupKey(machine)) ?? 0;
  for (const { machine } of up) running.set(groupKey(machine), count(machine) + 1);
  for (const supervisor of all) {
    const { machine } = supervisor;
    if (machine.cordoned || up.has(supervisor)) continue;
    const floor = floorOf(machine, view);
    if (supervisor.wakeable && count(machine) >= floor) continue;
    running.set(groupKey(machine), count(machine) + 1);
    const because = supervisor.wakeable ? `min_machines_running = ${floor}` : "nothing but `up` would start it";
    starts.push(supervisor.start(because));
  }
  // A failed start has been told as an event.
  await Promise.allSettled(starts);
}
