import { execFileSync } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import { AppError } from "../../core/errors.ts";
import { toolPath } from "./run.ts";

/** Bit of CAP_SYS_ADMIN in a capability mask (capabilities(7)). */
const SYS_ADMIN = 1n << 21n;

/** Whether we make namespaces by right, and need no user namespace for it. Uid 0 in a container often has not that right. */
export function isPrivileged(): boolean {
  if (process.getuid?.() !== 0) return false;
  try {
    const mask = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
    return mask !== undefined && (BigInt(`0x${mask}`) & SYS_ADMIN) !== 0n;
  } catch {
    return true;
  }
}

/**
 * What a Machine that runs as root keeps: Docker's usual set without `mknod` and `setfcap`, for there is no device
 * filter here. Others keep nothing; `net_raw` stays in the bounding set, without which `ping` cannot even be executed.
 */
const ROOT_BOUND =
  "chown,dac_override,fowner,fsetid,kill,setgid,setuid,setpcap,net_bind_service,net_raw,sys_chroot,audit_write";

/** Turns the rights of the core into those of a Machine. */
export class Privileges {
  readonly #userNamespace: boolean;
  readonly #identities = new Map<string, readonly string[]>();

  /** In a user namespace there is one user, so rights can be dropped, and the user stays. */
  constructor(userNamespace: boolean) {
    this.#userNamespace = userNamespace;
  }

  /**
   * `setpriv` with its options. As root the user is `user`, by default the owner of `folder`; root stays root only
   * when it is named or owns the folder.
   * @errors invalid when there is no such user
   */
  drop(folder: string, user: string | undefined): readonly string[] {
    if (this.#userNamespace) return withoutRights([]);
    if (user === "root" || user === "0") return withRootsRights();
    if (user !== undefined) return withoutRights(this.#identity(user));
    const owner = statSync(folder);
    return owner.uid === 0 || !exists(owner.uid)
      ? withRootsRights()
      : withoutRights(numericIdentity(owner.uid, owner.gid));
  }

  /** A user by name, with the groups that it has; looked up once, for it costs a process. */
  #identity(user: string): readonly string[] {
    const known = this.#identities.get(user);
    if (known !== undefined) return known;
    if (/^\d+$/.test(user)) return numericIdentity(Number(user), Number(user));
    const id = (what: string): string =>
      execFileSync("id", [what, "--", user], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
    try {
      const identity = [`--reuid=${id("-u")}`, `--regid=${id("-g")}`, "--init-groups"];
      this.#identities.set(user, identity);
      return identity;
    } catch (cause) {
      throw new AppError("invalid", `there is no user "${user}" on this computer`, { cause });
    }
  }
}

/** Whether a uid means anybody here: as root of a container, owners from outside it are strangers nobody can become. */
function exists(uid: number): boolean {
  try {
    const lines = readFileSync("/proc/self/uid_map", "utf8").trim().split("\n");
    return lines.some((line) => {
      const [first = 0, , count = 0] = line.trim().split(/\s+/).map(Number);
      return uid >= first && uid < first + count;
    });
  } catch {
    return true;
  }
}

function numericIdentity(uid: number, gid: number): readonly string[] {
  return [`--reuid=${uid}`, `--regid=${gid}`, "--clear-groups"];
}

function withoutRights(identity: readonly string[]): readonly string[] {
  return [toolPath("setpriv"), ...identity, "--no-new-privs", ...capabilities("net_raw")];
}

function withRootsRights(): readonly string[] {
  return [toolPath("setpriv"), ...capabilities(ROOT_BOUND)];
}

function capabilities(bound: string): readonly string[] {
  const kept = bound.split(",").map((name) => `+${name}`);
  return ["--inh-caps=-all", "--ambient-caps=-all", `--bounding-set=-all,${kept.join(",")}`];
}
