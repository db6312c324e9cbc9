import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, readlink, realpath, rename, rm, rmdir, stat, symlink } from "node:fs/promises";
import { connect, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { AppError } from "../../core/errors.ts";
import { systemCode } from "./durable-files.ts";

/**
 * A lock on a folder that dies with its process, kill -9 included, and that means the same in every pid and network
 * namespace: a unix socket that somebody listens on. Node has no flock.
 *
 * Each process listens on a socket of its own name and only then renames it into the lock folder. So whatever lies there
 * has been listening, and a connection that is refused proves that its process is dead. Then it looks at all the others:
 * a holder means that it is too late; of several that are still trying, the first by name goes on. Whoever looks last has
 * entered before looking, so two can never both see an empty room.
 */
export interface FolderLock {
  release(): Promise<void>;
}

/** What a listener says to whoever connects. */
interface Holder {
  readonly state: "holder" | "trying";
  readonly pid: number;
  /** In which its pid means something: each lab has one of its own. Empty where the system has none. */
  readonly pidNamespace: string;
  readonly since: string;
}

const SUFFIX = ".sock";
/** Of a path to a unix socket: 107 bytes on Linux, 103 on macOS, less the name of ours. */
const LONGEST_FOLDER = 80;
const ANSWER_TIMEOUT = 1000;
// About five seconds of others coming and going.
const LOOKS = 2000;

/** @errors state_locked: the message names the process where its pid means something, and since when. */
export async function lockFolder(
  folder: string,
  options: { name: string; now: string; what: string },
): Promise<FolderLock> {
  const pidNamespace = await ownPidNamespace();
  const me: { state: Holder["state"] } = { state: "trying" };
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    const holder: Holder = { state: me.state, pid: process.pid, pidNamespace, since: options.now };
    socket.end(`${JSON.stringify(holder)}\n`);
  });
  server.on("error", () => undefined);
  const place = await enter(folder, server, options.name);
  const leave = async (): Promise<void> => {
    await rm(join(place, options.name + SUFFIX), { force: true });
    await new Promise<void>((resolve) => server.close(() => resolve()));
  };
  try {
    for (let look = 1; !(await isFirst(place, options)); look++) {
      if (look === LOOKS) throw new AppError("state_locked", `another node uses ${options.what}`);
      await pause(2);
    }
  } catch (thrown) {
    await leave();
    throw thrown;
  }
  me.state = "holder";
  // The lock alone keeps no process alive.
  server.unref();
  await sweep(place);
  return { release: leave };
}

/** Listens, then shows itself. Gives the folder that was used. */
async function enter(folder: string, server: Server, name: string): Promise<string> {
  try {
    await listenIn(folder, server, name);
    return folder;
  } catch (thrown) {
    // Some file systems have no sockets (shared folders of virtual machines): then all openers meet elsewhere.
    if (!["EOPNOTSUPP", "ENOTSUP", "EPERM", "EINVAL", "ENOSYS"].includes(systemCode(thrown) ?? "")) throw thrown;
    const key = createHash("sha256")
      .update(await realpath(folder))
      .digest("hex");
    const elsewhere = join(tmpdir(), `flycast-lock-${process.getuid?.() ?? 0}-${key.slice(0, 24)}`);
    await mkdir(elsewhere, { recursive: true, mode: 0o700 });
    await listenIn(elsewhere, server, name);
    return elsewhere;
  }
}

async function listenIn(folder: string, server: Server, name: string): Promise<void> {
  await withShortPath(folder, (short) => {
    return new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(join(short, `new-${name}`), () => {
        server.off("error", reject);
        resolve();
      });
    });
  });
  await rename(join(folder, `new-${name}`), join(folder, name + SUFFIX));
}

async function describe(holder: Holder | "silent"): Promise<string> {
  if (holder === "silent") return "another node";
  const here = holder.pidNamespace === (await ownPidNamespace());
  return `another node (${here ? `process ${holder.pid} ` : ""}since ${holder.since})`;
}

async function ownPidNamespace(): Promise<string> {
  return readlink("/proc/self/ns/pid").catch(() => "");
}

/** True: nobody else is here. False: look again. @throws state_locked */
async function isFirst(folder: string, options: { name: string; what: string }): Promise<boolean> {
  let alone = true;
  for (const entry of await readdir(folder)) {
    if (!entry.endsWith(SUFFIX) || entry === options.name + SUFFIX) continue;
    const answer = await ask(folder, entry);
    if (answer === "leaving") {
      alone = false;
    } else if (answer === "dead") {
      // Its name was its own and is never used again, so this removes no living lock.
      await rm(join(folder, entry), { force: true });
    } else if (answer === "silent" || answer.state === "holder" || entry < options.name + SUFFIX) {
      throw new AppError("state_locked", `${await describe(answer)} uses ${options.what}`, {
        details: { next: "end that node (Ctrl-C where it runs), or give this one a folder of its own: --state-dir" },
      });
    } else {
      alone = false;
    }
  }
  return alone;
}

/** `silent`: it lives but says nothing, because it is stopped or busy. `leaving`: it ended while it was asked. */
type Answer = Holder | "dead" | "leaving" | "silent";

async function ask(folder: string, entry: string): Promise<Answer> {
  return await withShortPath(folder, (short) => {
    return new Promise<Answer>((resolve) => {
      const socket = connect(join(short, entry));
      let text = "";
      socket.setEncoding("utf8");
      socket.setTimeout(ANSWER_TIMEOUT, () => {
        resolve("silent");
        socket.destroy();
      });
      socket.on("data", (chunk: string) => {
        text = (text + chunk).slice(0, 1000);
      });
      socket.on("error", (error) => {
        const code = systemCode(error);
        if (code === "ECONNREFUSED" || code === "ENOENT") resolve("dead");
        else resolve(code === "ECONNRESET" || code === "EPIPE" ? "leaving" : "silent");
      });
      socket.on("close", () => resolve(text === "" ? "leaving" : parseHolder(text)));
    });
  });
}

function parseHolder(text: string): Holder | "silent" {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null) return "silent";
    const { state, pid, pidNamespace, since } = value as Readonly<Record<string, unknown>>;
    if (state !== "holder" && state !== "trying") return "silent";
    return { state, pid: Number(pid), pidNamespace: String(pidNamespace), since: String(since) };
  } catch {
    return "silent";
  }
}

/** Removes what a process left that died between listening and showing itself. */
async function sweep(folder: string): Promise<void> {
  for (const entry of await readdir(folder)) {
    if (!entry.startsWith("new-")) continue;
    const age = await stat(join(folder, entry)).then(
      ({ mtimeMs }) => Date.now() - mtimeMs,
      () => 0,
    );
    if (age > 60_000 && (await ask(folder, entry)) === "dead") await rm(join(folder, entry), { force: true });
  }
}

/** The kernel takes short paths for sockets only: a deep folder is reached through a link that lives for one call. */
async function withShortPath<T>(folder: string, use: (short: string) => Promise<T>): Promise<T> {
  if (Buffer.byteLength(folder) <= LONGEST_FOLDER) return await use(folder);
  const temporary = await mkdtemp(join(tmpdir(), "fc-"));
  const link = join(temporary, "l");
  await symlink(await realpath(folder), link);
  try {
    return await use(link);
  } finally {
    await rm(link, { force: true });
    await rmdir(temporary);
  }
}
