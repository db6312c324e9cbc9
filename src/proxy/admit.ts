import { err, ok, type Result } from "../core/result.ts";
import type { Caller } from "../network/caller.ts";
import type { FlycastAddress } from "../registry/model.ts";

/**
 * Whether the caller may use the address: its network must be the one on which the address was allocated. The app's own
 * network does not matter, so one service can be shown to another organisation, and only what was allocated is shown.
 */
export function admit(caller: Caller, address: FlycastAddress): Result<void, "FP02"> {
  return caller.network !== undefined && caller.network === address.network ? ok(undefined) : err("FP02");
}
