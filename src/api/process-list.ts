import { readdir, readFile, readlink } from "node:fs/promises";

/** One process of a Machine (reference §10.3, `ps`). */
export interface ProcessRow {
  readonly pid: number;
  /** Seconds of processor time that the kernel spent on its behalf. */
  readonly stime: number;
  /** Seconds since it began. */
  readonly rtime: number;
  readonly command: string;
  readonly directory: string;
  /** Percent of one processor, over its life. */
  readonly cpu: number;
  /** Bytes in memory. */
  readonly rss: number;
  readonly listen_sockets: readonly { readonly proto: string; readonly address: string }[];
}

const MOST_PROCESSES = 1000;
const LONGEST_COMMAND = 4096;
// Linux has had both for decades on every system that Node runs on.
const TICKS_PER_SECOND = 100;
const PAGE = 4096;

/** What /proc tells of these processes; those that ended meanwhile, and systems without /proc, give nothing. */
export async function listProcesses(pids: readonly number[]): Promise<readonly ProcessRow[]> {
  const uptime = Number((await readOr("/proc/uptime", "")).split(" ")[0]);
  const rows = await Promise.all(pids.slice(0, MOST_PROCESSES).map((pid) => row(pid, uptime).catch(() => undefined)));
  return rows.filter((one) => one !== undefined);
}

async function row(pid: number, uptime: number): Promise<ProcessRow | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, "latin1");
  // proc_pid_stat(5). The name in parentheses may hold anything, so fields count from the last one.
  const fields = stat
    .slice(stat.lastIndexOf(")") + 2)
    .split(" ")
    .map(Number);
  const [user = 0, system = 0, started = 0, pages = 0] = [11, 12, 19, 21].map((at) => fields[at] ?? 0);
  const age = Math.max(0, uptime - started / TICKS_PER_SECOND);
  const command = (await readOr(`/proc/${pid}/cmdline`, "")).replaceAll("\0", " ").trim();
  return {
    pid,
    stime: Math.round(system / TICKS_PER_SECOND),
    rtime: Math.round(age),
    command: command.slice(0, LONGEST_COMMAND),
    directory: await readlink(`/proc/${pid}/cwd`).catch(() => ""),
    cpu: age > 0 ? Math.round((user + system) / age) : 0,
    rss: pages * PAGE,
    listen_sockets: await listeningSockets(pid),
  };
}

/** proc_net_tcp(5): the sockets of its network namespace that listen, as far as it holds them. */
async function listeningSockets(pid: number): Promise<ProcessRow["listen_sockets"]> {
  const descriptors = await readdir(`/proc/${pid}/fd`).catch(() => []);
  const links = await Promise.all(descriptors.map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => "")));
  const inodes = new Set(links.flatMap((link) => /^socket:\[(\d+)\]$/.exec(link)?.[1] ?? []));
  if (inodes.size === 0) return [];
  const tables = await Promise.all(
    ["tcp", "tcp6"].map(async (proto) => {
      const lines = (await readOr(`/proc/${pid}/net/${proto}`, "")).split("\n").slice(1);
      return lines.flatMap((line) => {
        const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
        if (state !== LISTEN || local === undefined || inode === undefined || !inodes.has(inode)) return [];
        return [{ proto: "tcp", address: addressOf(local) }];
      });
    }),
  );
  return tables.flat();
}

const LISTEN = "0A";

/** `0100007F:1F90` → `127.0.0.1:8080`. The kernel writes 32-bit words in the byte order of the computer. */
function addressOf(text: string): string {
  const [hex = "", port = "0"] = text.split(":");
  const words = hex.match(/.{8}/g) ?? [];
  const bytes = words.flatMap((word) =>
    (word.match(/../g) ?? []).map((byte) => Number.parseInt(byte, 16)).toReversed(),
  );
  const number = Number.parseInt(port, 16);
  if (bytes.length === 4) return `${bytes.join(".")}:${number}`;
  const groups = Array.from({ length: 8 }, (_, i) =>
    (((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0)).toString(16),
  );
  return `[${new URL(`http://[${groups.join(":")}]`).hostname.slice(1, -1)}]:${number}`;
}

async function readOr(path: string, otherwise: string): Promise<string> {
  return readFile(path, "latin1").catch(() => otherwise);
}
