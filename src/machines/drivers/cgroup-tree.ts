/** Finding a place in the tree of control groups (version 2) that is ours to change. */
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { access, mkdir, readdir, readFile, rmdir, stat, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { err, ok, type Result } from "../../core/result.ts";
import type { WallTime } from "../../core/units.ts";

/** Those by which sizes are enforced. The freezer is none of them: every group has it. */
export type Controller = "cpu" | "memory";
const CONTROLLERS: readonly Controller[] = ["cpu", "memory"];

const PREFIX = "flycast-";

export interface GroupPlace {
  /** Holds the groups of this node's Machines, and no process itself. Made, and made again, by `layOut`. */
  readonly folder: string;
  readonly parent: string;
  /** What groups below it can be limited in. */
  readonly controllers: readonly Controller[];
}

/** Where to look. */
export interface Vantage {
  /** @default "/proc/self" */
  readonly proc: string;
  readonly root: boolean;
}

/** Of this process. */
export function vantage(): Vantage {
  return { proc: "/proc/self", root: process.getuid?.() === 0 };
}

/**
 * As root it lies at the top of the tree, where controllers can be switched on, and where a service manager that starts the
 * node again does not stumble over it. For others beside the group that they were started in, else inside that, where
 * a service manager has delegated one of them. The error says, for people, why there can be none.
 */
export async function findGroupPlace(stateDir: string, at: Vantage): Promise<Result<GroupPlace, string>> {
  const mount = mountOf(await readFile(join(at.proc, "mountinfo"), "utf8").catch(() => ""));
  const own = /^0::(\/.*)$/m.exec(await readFile(join(at.proc, "cgroup"), "utf8").catch(() => ""))?.[1];
  if (mount === undefined || own === undefined) return err("this system has no cgroup v2");
  // In a container the tree may begin at the container's own group.
  const below = own === mount.root || own.startsWith(`${mount.root}/`) ? own.slice(mount.root.length) : own;
  const group = join(mount.path, below);
  const parents = at.root ? [mount.path] : [resolve(mount.path, `.${dirname(join("/", below))}`), resolve(group)];
  const name = `${PREFIX}${createHash("sha256").update(stateDir).digest("hex").slice(0, 12)}`;
  let refused = "";
  for (const parent of new Set(parents)) {
    const folder = join(parent, name);
    try {
      const again = (thrown: unknown): ReturnType<typeof layOut> => {
        if (isGone(thrown)) return layOut(parent, folder); // another node has found it empty and removed it
        throw thrown;
      };
      const controllers = await layOut(parent, folder).catch(again);
      await access(join(folder, "cgroup.freeze")).catch(() => {
        throw new Error("this kernel's cgroup v2 has no freezer (it came with Linux 5.2)");
      });
      return ok({ folder, parent, controllers });
    } catch (thrown) {
      refused ||= describe(parent, thrown);
    }
  }
  return err(refused);
}

/** Makes the folder if need be. Resolves to the controllers that groups in it have. */
export async function layOut(parent: string, folder: string): Promise<readonly Controller[]> {
  await access(join(parent, "cgroup.procs"), constants.W_OK);
  await enable(parent);
  await mkdir(folder, { recursive: true });
  await enable(folder);
  const on = await words(join(folder, "cgroup.subtree_control"));
  return CONTROLLERS.filter((name) => on.includes(name));
}

/** One by one: of some, an older version of cgroups may have taken possession. */
async function enable(folder: string): Promise<void> {
  const path = join(folder, "cgroup.subtree_control");
  const [there, on] = [await words(join(folder, "cgroup.controllers")), await words(path)];
  for (const name of CONTROLLERS) {
    if (!there.includes(name) || on.includes(name)) continue;
    // Refused in a group that has processes of its own: then there is the freezer and no more.
    await writeFile(path, `+${name}`).catch(() => undefined);
  }
}

/**
 * Removes groups of nodes that have ended without a chance to do so. The kernel refuses where a process is left. A node
 * that lives and has nothing running loses its folder too, and makes it again when it needs it.
 */
export async function removeEmptyGroups({ parent, folder }: GroupPlace, now: WallTime): Promise<void> {
  for (const name of await readdir(parent).catch(() => [])) {
    const top = join(parent, name);
    if (!name.startsWith(PREFIX) || top === folder) continue;
    const made = await stat(top).catch(() => undefined);
    // One that is being laid out has nobody in it yet.
    if (made !== undefined && now - made.mtimeMs > FRESH) await removeEmpty(top);
  }
}

const FRESH = 60_000;

/** The group was removed at just this moment. */
export function isGone(thrown: unknown): boolean {
  const { code } = thrown as NodeJS.ErrnoException;
  return code === "ENOENT" || code === "ENODEV";
}

/** With the groups in it. */
export async function removeEmpty(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => [])) {
    if (entry.isDirectory()) await rmdir(join(folder, entry.name)).catch(() => undefined);
  }
  await rmdir(folder).catch(() => undefined);
}

/** Where the tree is mounted, and which group of it one sees there (proc_pid_mountinfo(5)): after the dash comes the type. */
function mountOf(mountinfo: string): { readonly path: string; readonly root: string } | undefined {
  for (const line of mountinfo.split("\n")) {
    const [mount, rest] = line.split(" - ");
    if (rest?.startsWith("cgroup2 ") !== true) continue;
    const [, , , root, path] = mount?.split(" ") ?? [];
    if (root !== undefined && path !== undefined) return { path, root: root === "/" ? "" : root };
  }
  return undefined;
}

async function words(path: string): Promise<readonly string[]> {
  return (await readFile(path, "utf8")).trim().split(/\s+/);
}

function describe(parent: string, thrown: unknown): string {
  const { code, message } = thrown as NodeJS.ErrnoException;
  return code === undefined ? message : `${parent} cannot be changed by this user (${code})`;
}
