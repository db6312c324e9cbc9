import { chmod, mkdir, readFile, readlink, realpath, rm, writeFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import type { Ip4, Ip6 } from "../../core/ids.ts";
import { AppError } from "../../core/errors.ts";
import { ANY_DNS } from "../address.ts";
import type { PlaceRequest } from "../plane.ts";
import { RUN_KEPT } from "./init.ts";

/**
 * Where the files of all Machines of a node lie. In the lab that is the lab's own /run and ends with it; in host mode it
 * is the computer's. No Machine sees it: each has a /run of its own.
 */
export function placesFolder(persistent: string | undefined): string {
  return join("/run/flycast", persistent ?? "lab");
}

/** A folder or file to bind, and where. */
export type Bind = readonly [source: string, target: string];

/** The files that a namespace shows in place of the computer's own. */
export interface NamespaceFiles {
  readonly folder: string;
  /** Where its /etc/hosts is to be written; undefined where the computer has none. */
  readonly hosts: string | undefined;
  /** For the time when nobody sits in it yet. */
  readonly binds: readonly Bind[];
  /** To be bound last, for it hides the folder that all the others come from. */
  readonly run: Bind;
}

/** What does not depend on who will sit in the namespace. */
export async function writeCommonFiles(places: string, name: string): Promise<NamespaceFiles> {
  const folder = join(places, name);
  await rm(folder, { recursive: true, force: true });
  const run = join(folder, "run");
  // Programs of any user expect to make files in these: /run/postgresql holds the socket of a Postgres.
  for (const open of ["lock", "postgresql", "tmp"]) {
    await mkdir(join(run, open), { recursive: true });
    await chmod(join(run, open), 0o1777);
  }
  const hosts = await etcFile(folder, run, "/etc/hosts", "");
  const resolver = await etcFile(folder, run, "/etc/resolv.conf", `nameserver ${ANY_DNS}\n`);
  const nameSwitch = await etcFile(folder, run, "/etc/nsswitch.conf", await nsswitchFile());
  const binds = [hosts, resolver, nameSwitch].flatMap((file) => (file?.bind === undefined ? [] : [file.bind]));
  for (const kept of RUN_KEPT.filter((path) => existsSync(join("/run", path)))) {
    await mkdir(join(run, kept));
    binds.push([join("/run", kept), join(run, kept)]);
  }
  return { folder, hosts: hosts?.source, binds, run: [run, "/run"] };
}

/** What does: its names, volumes, files, and what it alone must not see. @errors invalid when a path cannot be made */
export async function writeOwnFiles(
  files: NamespaceFiles,
  own: { readonly name: string; readonly address: Ip6; readonly link: Ip4 },
  wanted: Pick<PlaceRequest, "mounts" | "files" | "hidden">,
): Promise<readonly Bind[]> {
  // Written in place: what is bound is this very file.
  if (files.hosts !== undefined) await writeFile(files.hosts, hostsFile(own.address, own.link, own.name));
  const binds: Bind[] = [];
  for (const mount of wanted.mounts) {
    await mountPoint(mount.destination, "folder");
    binds.push([mount.folder, mount.destination]);
  }
  for (const [index, file] of wanted.files.entries()) {
    const source = join(files.folder, `file-${index}`);
    await writeFile(source, file.content);
    await mountPoint(file.path, "file");
    binds.push([source, file.path]);
  }
  const hidden = [...new Set(wanted.hidden)].filter((path) => existsSync(path));
  const empty = hidden.length === 0 ? "" : await emptyFolder(dirname(files.folder));
  // After the volumes, which may lie in what is hidden.
  return [...binds, ...hidden.map((path) => [empty, path] as const)];
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
async function etcFile(
  folder: string,
  run: string,
  path: string,
  content: string,
): Promise<{ readonly source: string; readonly bind: Bind | undefined } | undefined> {
  const real = await linkTarget(path);
  if (real?.startsWith("/run/") === true) {
    const inside = join(run, real.slice("/run/".length));
    await mkdir(dirname(inside), { recursive: true });
    await writeFile(inside, content);
    return { source: inside, bind: undefined };
  }
  if (real === undefined) return undefined;
  const source = join(folder, path.replaceAll("/", "-").slice(1));
  await writeFile(source, content);
  return { source, bind: [source, real] };
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

/** One at a time in this process: of two Machines that both want `/.fly`, the second must find it marked as ours. */
let making: Promise<void> = Promise.resolve();

function mountPoint(path: string, kind: "folder" | "file"): Promise<void> {
  const made = making.then(() => makeMountPoint(path, kind));
  making = made.catch(() => undefined);
  return made;
}

/** Makes what a bind needs to be bound on. The lab's root is ours; folders of the computer are not written to. */
async function makeMountPoint(path: string, kind: "folder" | "file"): Promise<void> {
  if (existsSync(path)) return;
  const top = `/${path.split("/")[1] ?? ""}`;
  const owned = !existsSync(top) || existsSync(join(top, OURS));
  if (!owned || !path.startsWith("/") || path.split("/").includes("..")) {
    throw new AppError(
      "invalid",
      kind === "folder"
        ? `${path} does not exist on this computer, and Flycast makes no folders inside ${top}: ` +
            "make it, or choose a destination at the top, such as /data"
        : `${path} does not exist on this computer, and Flycast makes no files inside ${top}: ` +
            "make an empty one to be covered, or choose a path whose first folder does not exist here, such as /config",
    );
  }
  await mkdir(kind === "folder" ? path : dirname(path), { recursive: true });
  await writeFile(join(top, OURS), "");
  if (kind === "file") await writeFile(path, "");
}

/** Marks a top-level folder that exists only in the lab. */
const OURS = ".flycast-lab";

async function emptyFolder(places: string): Promise<string> {
  const path = join(places, ".empty");
  await mkdir(path, { recursive: true });
  await chmod(path, 0o555);
  return path;
}
