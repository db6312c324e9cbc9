import { execFileSync } from "node:child_process";
import { statSync } from "node:fs";
import { AppError } from "../../core/errors.ts";

/**
 * What a Machine that runs as root keeps: Docker's usual set without `mknod` and `setfcap`, for there is no device
 * filter here. Others keep nothing; `net_raw` stays in the bounding set, without which `ping` cannot even be executed.
 */
const ROOT_BOUND =
  "chown,dac_override,fowner,fsetid,kill,setgid,setuid,setpcap,net_bind_service,net_raw,sys_chroot,audit_write";

const identities = new Map<string, readonly string[]>();

/**
 * `setpriv` and its options that turn our rights into a Machine's. In an ordinary user's lab only rights are dropped. As
 * root the user is `user`, by default the owner of `folder`; root itself only when it is named.
 * @errors invalid when there is no such user
 */
export function dropArgv(folder: string, user: string | undefined): readonly string[] {
  if (process.getuid?.() !== 0) return ["setpriv", "--no-new-privs", ...capabilities("net_raw")];
  if (user === "root" || user === "0") return ["setpriv", ...capabilities(ROOT_BOUND)];
  if (user === undefined) {
    const owner = statSync(folder);
    if (owner.uid === 0) return ["setpriv", ...capabilities(ROOT_BOUND)];
    return ["setpriv", ...numericIdentity(owner.uid, owner.gid), "--no-new-privs", ...capabilities("net_raw")];
  }
  return ["setpriv", ...namedIdentity(user), "--no-new-privs", ...capabilities("net_raw")];
}

function capabilities(bound: string): readonly string[] {
  const kept = bound.split(",").map((name) => `+${name}`);
  return ["--inh-caps=-all", "--ambient-caps=-all", `--bounding-set=-all,${kept.join(",")}`];
}

function numericIdentity(uid: number, gid: number): readonly string[] {
  return [`--reuid=${uid}`, `--regid=${gid}`, "--clear-groups"];
}

/** A user by name, with the groups that it has; looked up once, for it costs a process. */
function namedIdentity(user: string): readonly string[] {
  const known = identities.get(user);
  if (known !== undefined) return known;
  if (/^\d+$/.test(user)) return numericIdentity(Number(user), Number(user));
  const id = (what: string): string =>
    execFileSync("id", [what, "--", user], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  try {
    const identity = [`--reuid=${id("-u")}`, `--regid=${id("-g")}`, "--init-groups"];
    identities.set(user, identity);
    return identity;
  } catch (cause) {
    throw new AppError("invalid", `there is no user "${user}" on this computer`, { cause });
  }
}
