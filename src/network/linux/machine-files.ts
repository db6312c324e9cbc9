import { chmod, mkdir, readFile, readlink, realpath, rm, writeFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import type { Ip4, Ip6 } from "../../core/ids.ts";
import { AppError } from "../../core/errors.ts";
import { ANY_DNS } from "../address.ts";
import type { PlaceRequest } from "../plane.ts";

/** Lives in the lab's own /run, so it ends with the lab and no Machine sees it: each has a /run of its own. */
export const PLACES = "/run/flycast";

/** A folder or file to bind, and where. In order: `/run` comes last, for it hides the sources. */
export type Bind = readonly [source: string, target: string];

export interface MachineFiles {
  readonly folder: string;
  readonly binds: readonly Bind[];
}

type Wanted = Pick<PlaceRequest, "mounts" | "files" | "hidden">;

/** Writes what a Machine sees in place of the computer's own files, and tells what to bind where. */
export async function writeMachineFiles(
  name: string,
  own: { readonly address: Ip6; readonly link: Ip4 },
  wanted: Wanted,
): Promise<MachineFiles> {
  const folder = join(PLACES, name);
  await rm(folder, { recursive: true, force: true });
  const run = join(folder, "run");
  // Programs of any user expect to make files in these: /run/postgresql holds the socket of a Postgres.
  for (const open of ["lock", "postgresql", "tmp"]) {
    await mkdir(join(run, open), { recursive: true });
    await chmod(join(run, open), 0o1777);
  }
  const binds: Bind[] = [
    ...(await etcFile(folder, run, "/etc/hosts", hostsFile(own.address, own.link, name))),
    ...(await etcFile(folder, run, "/etc/resolv.conf", `nameserver ${ANY_DNS}\noptions timeout:2\n`)),
    ...(await etcFile(folder, run, "/etc/nsswitch.conf", await nsswitchFile())),
  ];
  for (const mount of wanted.mounts) {
    await mountPoint(mount.destination, "folder");
    binds.push([mount.folder, mount.destination]);
  }
  for (const [index, file] of wanted.files.entries()) {
    const source = join(folder, `file-${index}`);
    await writeFile(source, file.content);
    await mountPoint(file.path, "file");
    binds.push([source, file.path]);
  }
  for (const hidden of wanted.hidden) {
    if (existsSync(hidden)) binds.push([await emptyFolder(), hidden]);
  }
  binds.push([run, "/run"]);
  return { folder, binds };
}

function hostsFile(address: Ip6, link: Ip4, name: string): string {
  return [
    `127.0.0.1 localhost ${hostname()}`,
    "::1 localhost ip6-localhost ip6-loopback",
    `${address} fly-local-6pn ${name}`,
    // On the platform the address to bind UDP services to; here the Machine's end of its IPv4 link.
    `${link} fly-global-services`,
    "",
  ].join("\n");
}

/** The computer's own, but host names are looked up in our two files alone: not in mdns, not through its resolver. */
async function nsswitchFile(): Promise<string> {
  const own = await readFile("/etc/nsswitch.conf", "utf8").catch(() => "");
  return `${own.replace(/^[ \t]*hosts:.*$/gm, "").trimEnd()}\nhosts: files dns\n`;
}

/** A file of /etc for the Machine. Where the computer's own is a link into /run, ours goes to that path in its /run. */
async function etcFile(folder: string, run: string, path: string, content: string): Promise<readonly Bind[]> {
  const real = await linkTarget(path);
  if (real?.startsWith("/run/") === true) {
    const inside = join(run, real.slice("/run/".length));
    await mkdir(dirname(inside), { recursive: true });
    await writeFile(inside, content);
    return [];
  }
  if (real === undefined) return [];
  const source = join(folder, path.replaceAll("/", "-").slice(1));
  await writeFile(source, content);
  return [[source, real]];
}

/** Where a path leads; also when it leads into the /run of the computer, which is not to be seen here. */
async function linkTarget(path: string): Promise<string | undefined> {
  try {
    return await realpath(path);
  } catch {
    const target = await readlink(path).catch(() => undefined);
    if (target === undefined) return undefined;
    const absolute = join("/", target.startsWith("/") ? target : join(dirname(path), target));
    return absolute.startsWith("/var/run/") ? absolute.slice("/var".length) : absolute;
  }
}

/** Makes what a bind needs to be bound on. The lab's root is ours; folders of the computer are not written to. */
async function mountPoint(path: string, kind: "folder" | "file"): Promise<void> {
  if (existsSync(path)) return;
  const top = `/${path.split("/")[1] ?? ""}`;
  const owned = !existsSync(top) || existsSync(join(top, OURS));
  if (!owned || !path.startsWith("/") || path.split("/").includes("..")) {
    throw new AppError(
      "invalid",
      `${path} does not exist on this computer, and Flycast makes no folders inside ${top}: ` +
        "make it, or choose a destination at the top, such as /data",
    );
  }
  await mkdir(kind === "folder" ? path : dirname(path), { recursive: true });
  await writeFile(join(top, OURS), "");
  if (kind === "file") await writeFile(path, "");
}

/** Marks a top-level folder that exists only in the lab. */
const OURS = ".flycast-lab";

async function emptyFolder(): Promise<string> {
  const path = join(PLACES, ".empty");
  await mkdir(path, { recursive: true });
  await chmod(path, 0o555);
  return path;
}
