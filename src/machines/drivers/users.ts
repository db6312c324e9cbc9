/** Users of this computer, as the password database tells them. */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";

export interface User {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

const run = promisify(execFile);

/** Finds a user by name or number; undefined when there is none. Asks `getent` for users that /etc/passwd does not list. */
export async function findUser(nameOrNumber: string): Promise<User | undefined> {
  const fromFile = findIn(await readFile("/etc/passwd", "utf8").catch(() => ""), nameOrNumber);
  if (fromFile !== undefined) return fromFile;
  // A leading dash would be an option to getent.
  if (!/^[A-Za-z0-9_][A-Za-z0-9_.@-]*$/.test(nameOrNumber)) return undefined;
  const { stdout } = await run("getent", ["passwd", nameOrNumber], { timeout: 5000 }).catch(() => ({ stdout: "" }));
  return findIn(stdout, nameOrNumber);
}

/** passwd(5): name:password:uid:gid:comment:home:shell */
function findIn(passwd: string, nameOrNumber: string): User | undefined {
  for (const line of passwd.split("\n")) {
    const [name, , uid, gid, , home] = line.split(":");
    if (name === undefined || uid === undefined || gid === undefined) continue;
    if (name === nameOrNumber || uid === nameOrNumber) {
      return { name, uid: Number(uid), gid: Number(gid), home: home ?? "/" };
    }
  }
  return undefined;
}
