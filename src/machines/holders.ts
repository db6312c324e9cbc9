import type { Clock } from "../core/clock.ts";
import type { MachineId } from "../core/ids.ts";
import type { WallTime } from "../core/units.ts";
import type { Caller } from "../network/caller.ts";
import { holds } from "./claim-ledger.ts";
import type { HeldClaim } from "./held-claim.ts";
import type { ClaimRequest } from "./pool.ts";
import type { Holder } from "./why.ts";

/** `connection from [fdaa:…]:51234`: who woke or holds a Machine, for people. */
export function describeClaim(request: ClaimRequest): string {
  return `${request.kind} from ${describeCaller(request.caller)}`;
}

/** `[fdaa:…]:51234 (Machine 148e21…)`, `127.0.0.1:40000`. */
export function describeCaller(caller: Caller): string {
  const host = caller.address.includes(":") ? `[${caller.address}]` : caller.address;
  const machine = caller.machine === undefined ? "" : ` (Machine ${caller.machine})`;
  return `${host}:${caller.port}${machine}`;
}

/** The claims of a Machine as people see them. */
export function describeHolders(
  claims: readonly HeldClaim[],
  clock: Clock,
  isSuspended: (machine: MachineId) => boolean,
): readonly Holder[] {
  // One moment on both clocks: claims keep monotonic times.
  const offset = clock.wall() - clock.now();
  return claims.map((claim) => ({
    service: claim.request.service,
    kind: claim.request.kind,
    from: describeCaller(claim.request.caller),
    since: (claim.request.since + offset) as WallTime,
    lastByte: (claim.lastByte + offset) as WallTime,
    waiting: claim.endpoint === undefined,
    holds: holds(claim, isSuspended),
  }));
}
