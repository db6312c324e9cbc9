import { spawn } from "node:child_process";
import { closeSync, openSync, readdirSync, readlinkSync } from "node:fs";
import { AppError } from "../../core/errors.ts";
import type { Link } from "./guard.ts";
import type { Bind } from "./machine-files.ts";
import { systemPath } from "./run.ts";

/**
 * Builds a Machine's namespaces from the inside, reports, and waits until we hold them. `ip_unprivileged_port_start`:
 * apps bind port 80 without a right. `ping_group_range`: ping needs no right either.
 */
const BUILD = `
lines=$1 groups=$2; shift 2
while [ $# -gt 1 ]; do
  mount --rbind "$1" "$2" || exit 80
  shift 2
done
echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start
echo "$groups" > /proc/sys/net/ipv4/ping_group_range
for key in all default; do echo 0 > /proc/sys/net/ipv6/conf/$key/disable_ipv6; done
printf %s "$lines" | ip -batch - || exit 81
echo ok
read x
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

  /** Every process in the network namespace. A process group would not be enough: Postgres backends have their own sessions. */
  members(): readonly number[] {
    const pids: number[] = [];
    for (const name of readdirSync("/proc")) {
      const first = name.charCodeAt(0);
      if (first < 0x31 || first > 0x39) continue;
      try {
        if (readlinkSync(`/proc/${name}/ns/net`) === this.#inode) pids.push(Number(name));
      } catch {
        // Ended meanwhile.
      }
    }
    return pids;
  }

  /** Lets go. The namespaces end with their last process. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeSync(this.#net);
    closeSync(this.#mount);
  }
}

/** Makes the namespaces and the veth pair; our end of it is left for the guard to set up. @errors internal */
export function buildNamespace(link: Link, binds: readonly Bind[], pingGroups: string): Promise<Namespace> {
  const child = spawn(
    "unshare",
    ["--net", "--mount", "sh", "-c", BUILD, "sh", insideLines(link), pingGroups, ...binds.flat()],
    { stdio: ["pipe", "pipe", "pipe"], env: { ...process.env, PATH: systemPath(), LC_ALL: "C" } },
  );
  return new Promise((resolve, reject) => {
    let complaints = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => (complaints += text.slice(0, 4096)));
    child.stdin.on("error", () => undefined);
    const fail = (cause: string): void =>
      reject(new AppError("internal", `the namespace of ${link.address} cannot be made: ${cause}`));
    child.once("error", (error) => fail(error.message));
    child.once("close", (code) => fail(complaints.trim() || `exit ${code ?? "by signal"}`));
    child.stdout.once("data", () => {
      try {
        const net = openSync(`/proc/${child.pid ?? 0}/ns/net`, "r");
        const mount = openSync(`/proc/${child.pid ?? 0}/ns/mnt`, "r");
        resolve(new Namespace(net, mount));
      } catch (thrown) {
        fail(String(thrown));
      }
      // The shell ends; the descriptors keep what it made.
      child.stdin.end("\n");
    });
  });
}

/** `link add name X`: without `name`, a short X is read as an abbreviated keyword. */
function insideLines(link: Link): string {
  return [
    `link add name eth0 type veth peer name ${link.name} netns ${process.pid}`,
    "link set dev lo up",
    "link set dev eth0 addrgenmode none up",
    `addr add ${link.address}/112 dev eth0 nodad`,
    `addr add ${link.theirs}/30 dev eth0`,
    "route add default via fe80::1 dev eth0",
    "",
  ].join("\n");
}
