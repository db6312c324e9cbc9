import type { ClientPlace } from "../plane.ts";
import { Privileges } from "./privileges.ts";
import type { OuterFacts } from "./wire.ts";

/**
 * argv by which the user who runs the lab enters a client namespace from outside: through process 1 of the lab, whose
 * `/proc` shows the core and its descriptors. Inside, an ordinary user arrives without capabilities; root gives them up.
 */
export function clientEntry(
  outer: OuterFacts,
  corePid: number,
  descriptors: { readonly net: number; readonly mount: number },
): readonly string[] {
  if (outer.persistent !== undefined) {
    // Host mode: the core's processes are the computer's own.
    const own = (fd: number): string => `/proc/${corePid}/fd/${fd}`;
    const spaces = [`--net=${own(descriptors.net)}`, `--mount=${own(descriptors.mount)}`];
    return ["nsenter", ...spaces, ...new Privileges(false).drop("/", "root")];
  }
  const init = `/proc/${outer.initPid}`;
  const descriptor = (fd: number): string => `${init}/root/proc/${corePid}/fd/${fd}`;
  const user = outer.userNamespace ? [`--user=${init}/ns/user`, "--preserve-credentials"] : [];
  const spaces = [`--net=${descriptor(descriptors.net)}`, `--mount=${descriptor(descriptors.mount)}`];
  const drop = outer.userNamespace ? [] : new Privileges(false).drop("/", "root");
  return ["nsenter", ...user, ...spaces, `--pid=${init}/ns/pid`, ...drop];
}

/**
 * argv to put before the command of `flycast exec`, for the user with this uid. Root in another user's lab becomes that
 * user first: otherwise it would be an unmapped uid inside that may write nothing. Undefined: not this user's lab.
 */
export function clientArgv(place: ClientPlace, uid: number): readonly string[] | undefined {
  const owner = place.owner;
  if (owner === undefined || owner.uid === uid) return place.enter;
  if (uid !== 0) return undefined;
  return ["setpriv", `--reuid=${owner.uid}`, `--regid=${owner.gid}`, "--clear-groups", ...place.enter];
}
