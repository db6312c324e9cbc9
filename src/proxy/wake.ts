import type { Clock } from "../core/clock.ts";
import { AppError, toAppError } from "../core/errors.ts";
import type { Milliseconds } from "../core/units.ts";
import type { Claim, Endpoint } from "../machines/pool.ts";
import type { Departure } from "./departure.ts";

/**
 * Waits until the claim's Machine has started. Single flight is the pool's: every claim on a starting Machine shares its
 * start. Does not release the claim.
 * @errors the start's own error; PM03 after `timeout`; the signal's reason when the client left
 */
export function wake(claim: Claim, signal: Departure, clock: Clock, timeout: Milliseconds): Promise<Endpoint> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => finish(() => reject(toAppError(signal.reason, "FP10")));
    const timer = clock.after(timeout, () => finish(() => reject(new AppError("PM03"))));
    const finish = (settle: () => void): void => {
      timer.cancel();
      signal.removeEventListener("abort", onAbort);
      settle();
    };
    if (signal.aborted) return onAbort();
    signal.addEventListener("abort", onAbort);
    claim.ready.then(
      (endpoint) => finish(() => resolve(endpoint)),
      (thrown: unknown) => finish(() => reject(toAppError(thrown, "PM02"))),
    );
  });
}
