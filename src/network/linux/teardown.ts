/** The end of host mode on a computer: everything that it put into the network goes, and every Machine with it. */
import { existsSync } from "node:fs";
import { rm, rmdir } from "node:fs/promises";
import { AppError } from "../../core/errors.ts";
import { removeHostExit } from "./egress.ts";
import { SOCKET } from "../wireguard/device.ts";
import { HOST_LINK, HOST_NAMESPACE, namespaceExists } from "./host-link.ts";
import { lockHostNamespace } from "./host-lock.ts";
import { placesFolder } from "./machine-files.ts";
import { PlaceRecords } from "./place-records.ts";
import { isPrivileged } from "./privileges.ts";
import { mustRun, run } from "./run.ts";

export interface TornDown {
  /** Of Machines, that were ended. */
  readonly processes: number;
  /** What was removed, in words. Empty when there was nothing. */
  readonly removed: readonly string[];
}

/** Milliseconds that Machines have to end by themselves, after SIGTERM. */
const PATIENCE = 10_000;

/** Run on the computer's side. @errors no_privilege; state_locked while a node runs */
export async function tearDownHost(namespace = HOST_NAMESPACE, link = HOST_LINK): Promise<TornDown> {
  if (!isPrivileged()) throw new AppError("no_privilege", "host mode is made by root and removed by root");
  await lockHostNamespace(namespace);
  const removed: string[] = [];
  const places = placesFolder(namespace);
  let processes = 0;
  if (await namespaceExists(namespace)) {
    processes = await endMachines(namespace, places);
    removed.push(`the network namespace ${namespace}`);
  }
  // First the link: a namespace is taken down by the kernel when it likes, and its links with it.
  if ((await run(["ip", "link", "show", "dev", link])).code === 0) {
    await mustRun(["ip", "link", "del", "dev", link]);
    removed.push(`the link ${link} with its addresses and routes`);
  }
  if (await namespaceExists(namespace)) {
    await removeHostExit(namespace);
    await mustRun(["ip", "netns", "del", namespace]);
  }
  // Left by a gateway that was killed.
  await rm(SOCKET, { force: true });
  if (existsSync(places)) {
    await rm(places, { recursive: true, force: true });
    removed.push(places);
  }
  // Empty now, or somebody else's.
  for (const folder of ["/run/flycast/root", "/run/flycast"]) await rmdir(folder).catch(() => undefined);
  return { processes, removed };
}

async function endMachines(namespace: string, places: string): Promise<number> {
  const inside = (await run(["ip", "-netns", namespace, "-o", "link", "show"])).stdout;
  // Our end of the wire is there: so is the namespace at its other end, and its number means no other.
  const found = await new PlaceRecords(places).recover(({ name }) => inside.includes(` ${name}@`));
  const members = (): readonly number[] => found.flatMap((place) => place.namespace.members());
  const count = members().length;
  // A frozen one takes its signal when it goes on.
  for (const name of ["SIGTERM", "SIGCONT"] as const) signalAll(members(), name);
  await gone(members, PATIENCE);
  await kill(members);
  for (const place of found) place.namespace.close();
  // The processes that started Machines stand in the node's own namespace, and end with the last of theirs.
  const standing = async (): Promise<readonly number[]> =>
    (await mustRun(["ip", "netns", "pids", namespace]))
      .split("\n")
      .flatMap((line) => (line === "" ? [] : [Number(line)]));
  const starters = await standing();
  await gone(() => starters.filter((pid) => existsSync(`/proc/${pid}`)), 2000);
  signalAll(await standing(), "SIGKILL");
  return count;
}

/** A process may fork between the look and the kill, so again until there is nobody. */
async function kill(who: () => readonly number[]): Promise<void> {
  for (let round = 0; who().length > 0 && round < 200; round++) {
    signalAll(who(), "SIGKILL");
    await gone(who, 50);
  }
}

/** Waits until there is nobody, at most `patience` milliseconds. */
async function gone(who: () => readonly number[], patience: number): Promise<void> {
  const end = Date.now() + patience;
  while (who().length > 0 && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 20));
}

function signalAll(pids: readonly number[], name: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, name);
    } catch {
      // Ended by itself.
    }
  }
}
