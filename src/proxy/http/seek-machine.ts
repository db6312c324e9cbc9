/** How a request gets to a Machine: claim, then a connection that is kept or a fresh one; again while nothing was sent. */
import { type AppError, toAppError } from "../../core/errors.ts";
import type { Claim } from "../../machines/pool.ts";
import type { Work } from "../context.ts";
import type { HttpContext } from "./context.ts";
import type { Upstream } from "./upstream.ts";

/** Tries to find a Machine that can be reached before giving up (reference §2.2). */
const MAX_ATTEMPTS = 90;

/** Who wants a Machine: the exchange. */
export interface Seeker {
  /** What is asked for now. */
  readonly work: Work;
  /** Nothing is wanted any more. */
  readonly settled: boolean;
  /** The request may be sent again if it turns out that a kept connection was closing. */
  readonly isRepeatable: boolean;
  /** Attempts so far to reach one for this work. */
  attempts: number;
  /** Holds this claim from now on; undefined: none, it was given back by whoever dialled. */
  onClaim(claim: Claim | undefined): void;
  onReached(upstream: Upstream): void;
  onUnreached(error: AppError): void;
}

export function seekMachine(context: HttpContext, seeker: Seeker): void {
  let outcome: Claim | Promise<Claim>;
  try {
    outcome = context.reach.claim(seeker.work);
  } catch (error) {
    return seeker.onUnreached(toAppError(error));
  }
  if (outcome instanceof Promise) {
    outcome.then(
      (claim) => useClaim(context, seeker, claim),
      (error: unknown) => seeker.onUnreached(toAppError(error)),
    );
  } else useClaim(context, seeker, outcome);
}

function useClaim(context: HttpContext, seeker: Seeker, claim: Claim): void {
  if (seeker.settled) return claim.release();
  seeker.onClaim(claim);
  const kept = context.upstreams.take(seeker.work, claim, seeker.isRepeatable);
  if (kept !== undefined) seeker.onReached(kept);
  else connectTo(context, seeker, claim);
}

/** A fresh connection to the Machine that is claimed already. */
export function connectTo(context: HttpContext, seeker: Seeker, claim: Claim): void {
  const { work } = seeker;
  context.reach.connect(work, claim).then(
    (socket) => {
      if (seeker.settled) socket.destroy();
      else seeker.onReached(context.upstreams.open(work, claim, socket));
    },
    (thrown: unknown) => {
      seeker.onClaim(undefined);
      if (seeker.settled) return;
      const error = toAppError(thrown);
      if (error.retry === "unsent" && ++seeker.attempts < MAX_ATTEMPTS && !work.signal.aborted) {
        seekMachine(context, seeker);
      } else seeker.onUnreached(error);
    },
  );
}
