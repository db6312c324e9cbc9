import { spawn, type ChildProcessWithoutNullStreams } from "node:child_process";
import { closeSync, openSync, readdirSync, readlinkSync } from "node:fs";
import { AppError } from "../../core/errors.ts";
import type { Ip6 } from "../../core/ids.ts";
import type { Wire } from "./guard.ts";
import type { Bind } from "./machine-files.ts";
import { systemPath } from "./run.ts";

/**
 * The kernel asks for uid 0 where a file of /proc or /sys belongs to the whole computer, and for no capability: a Machine
 * that runs as root could name the program that the kernel starts for core dumps, or freeze control groups. So it reads
 * them only. In a user namespace nobody is that root, and there is nothing to protect.
 */
const PROTECT = `
protect() {
  read -r inside outside count < /proc/self/uid_map
  [ "$outside $count" = "0 4294967295" ] || return 0
  for path in /proc/sys /proc/sysrq-trigger /proc/irq /proc/bus; do
    [ ! -e $path ] || mount -o bind,ro $path $path || return 1
  done
  mount -t sysfs -o ro,nosuid,nodev,noexec sysfs /sys || return 1
  # For runtimes that ask how much memory they have.
  if mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null; then mount -o remount,bind,ro /sys/fs/cgroup; fi
}
`;

/**
 * Builds namespaces from the inside, reports, and waits to be told who will sit there, and what to show them.
 * `ip_unprivileged_port_start`: apps bind port 80 without a right. `ping_group_range`: ping needs no right either.
 */
const BUILD = `${PROTECT}
lines=$1 groups=$2; shift 2
while [ $# -gt 1 ]; do
  mount --rbind "$1" "$2" || exit 80
  shift 2
done
echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start
echo "$groups" > /proc/sys/net/ipv4/ping_group_range
for key in all default; do echo 0 > /proc/sys/net/ipv6/conf/$key/disable_ipv6; done
printf %s "$lines" | ip -batch - || exit 81
protect || exit 83
echo built
while IFS= read -r word; do
  case $word in
    bind) IFS= read -r source; IFS= read -r target; mount --rbind "$source" "$target" || exit 80 ;;
    address) IFS= read -r address; ip addr add "$address/112" dev eth0 nodad || exit 81 ;;
    done) echo settled; exit 0 ;;
  esac
done
`;

/**
 * A network and a mount namespace, held by two descriptors of this process. Not by files: pinning a mount namespace to a
 * file fails at random on kernels from 6.18 (ids are drawn per CPU).
 */
export class Namespace {
  readonly #net: number;
  readonly #mount: number;
  readonly #inode: string;
  #closed = false;

  constructor(net: number, mount: number) {
    this.#net = net;
    this.#mount = mount;
    this.#inode = readlinkSync(`/proc/self/fd/${net}`);
  }

  /** Paths by which a process of the core's pid namespace enters. */
  get paths(): { readonly net: string; readonly mount: string } {
    return { net: `/proc/${process.pid}/fd/${this.#net}`, mount: `/proc/${process.pid}/fd/${this.#mount}` };
  }

  get descriptors(): { readonly net: number; readonly mount: number } {
    return { net: this.#net, mount: this.#mount };
  }

  /** What `readlink /proc/PID/ns/net` prints for its processes. */
  get space(): string {
    return this.#inode;
  }

  /** The namespaces of any process in this network namespace; undefined when there is none. */
  static find(space: string): Namespace | undefined {
    for (const pid of processesIn(space)) {
      try {
        const found = new Namespace(openSync(`/proc/${pid}/ns/net`, "r"), openSync(`/proc/${pid}/ns/mnt`, "r"));
        if (found.space === space) return found;
        found.close();
      } catch {
        // Ended meanwhile.
      }
    }
    return undefined;
  }

  /** Every process in the network namespace. A process group would not be enough: Postgres backends have their own sessions. */
  members(): readonly number[] {
    // Once it is let go, its number may be another namespace's, and whoever asks may be about to kill.
    return this.#closed ? [] : processesIn(this.#inode);
  }

  /** Lets go. The namespaces end with their last process. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeSync(this.#net);
    closeSync(this.#mount);
  }
}

function processesIn(space: string): readonly number[] {
  const pids: number[] = [];
  for (const name of readdirSync("/proc")) {
    const first = name.charCodeAt(0);
    if (first < 0x31 || first > 0x39) continue;
    try {
      if (readlinkSync(`/proc/${name}/ns/net`) === space) pids.push(Number(name));
    } catch {
      // Ended meanwhile.
    }
  }
  return pids;
}

/** Namespaces that are ready for a Machine or a client to move in. */
export interface Vacancy {
  readonly wire: Wire;
  readonly namespace: Namespace;
  /** Gives it its address and its own files. To be called once. @errors internal */
  settle(address: Ip6, binds: readonly Bind[]): Promise<void>;
  /** Ends it. */
  discard(): void;
}

/** Makes the namespaces and the veth pair; our end of it is left for the guard to set up. `exit`: whether IPv4 leads out. @errors internal */
export async function buildNamespace(
  wire: Wire,
  binds: readonly Bind[],
  pingGroups: string,
  exit: boolean,
): Promise<Vacancy> {
  const child = spawn(
    "unshare",
    ["--net", "--mount", "sh", "-c", BUILD, "sh", insideLines(wire, exit), pingGroups, ...binds.flat()],
    { stdio: ["pipe", "pipe", "pipe"], env: { ...process.env, PATH: systemPath(), LC_ALL: "C" } },
  );
  const talk = new ShellTalk(child);
  await talk.hear("built");
  const pid = child.pid ?? 0;
  const namespace = new Namespace(openSync(`/proc/${pid}/ns/net`, "r"), openSync(`/proc/${pid}/ns/mnt`, "r"));
  return {
    wire,
    namespace,
    async settle(address, more) {
      const words = more.flatMap(([source, target]) => ["bind", line(source), line(target)]);
      // The shell ends; our descriptors keep what it made.
      child.stdin.end([...words, "address", address, "done", ""].join("\n"));
      await talk.hear("settled");
    },
    discard() {
      child.kill("SIGKILL");
      namespace.close();
    },
  };
}

/** The shell reads line by line. @errors invalid */
function line(path: string): string {
  if (path.includes("\n"))
    throw new AppError("invalid", `a path with a line break cannot be shown in a Machine: ${JSON.stringify(path)}`);
  return path;
}

/** What a shell of ours says, word by word, and its complaints when it ends instead. */
class ShellTalk {
  #complaints = "";
  #said = "";
  #ended: string | undefined;
  #check: () => void = () => undefined;

  constructor(child: ChildProcessWithoutNullStreams) {
    child.stdin.on("error", () => undefined);
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      this.#said += text;
      this.#check();
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      if (this.#complaints.length < 4096) this.#complaints += text;
    });
    const end = (cause: string): void => {
      this.#ended ??= cause;
      this.#check();
    };
    child.once("error", (error) => end(error.message));
    child.once("close", (code) => end(this.#complaints.trim() || `exit ${code ?? "by signal"}`));
  }

  hear(word: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#check = () => {
        if (this.#said.includes(`${word}\n`)) resolve();
        else if (this.#ended !== undefined) {
          reject(new AppError("internal", `a Machine's namespace cannot be made: ${this.#ended}`));
        }
      };
      this.#check();
    });
  }
}

/** `link add name X`: without `name`, a short X is read as an abbreviated keyword. */
function insideLines(wire: Wire, exit: boolean): string {
  return [
    `link add name eth0 type veth peer name ${wire.name} netns ${process.pid}`,
    "link set dev lo up",
    "link set dev eth0 addrgenmode none up",
    `addr add ${wire.theirs}/30 dev eth0`,
    "route add default via fe80::1 dev eth0",
    // Without a way out a missing route answers at once.
    ...(exit ? [`route add default via ${wire.ours} dev eth0`] : []),
    "",
  ].join("\n");
}
