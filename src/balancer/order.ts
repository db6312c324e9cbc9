import type { MachineId } from "../core/ids.ts";

/** A Machine as the balancer sees it: a value, true at one moment. */
export interface Candidate {
  readonly machine: MachineId;
  /** `running` includes starting (its waiters are its load); `asleep` can be woken; `down` can do nothing for anybody now. */
  readonly state: "running" | "asleep" | "down";
  /** In the caller's own region. */
  readonly local: boolean;
  /** Closeness in milliseconds. */
  readonly rtt: number;
  /** Claims for the service, waiters included. */
  readonly load: number;
  readonly softLimit: number;
  /** Undefined: no limit. */
  readonly hardLimit: number | undefined;
  readonly cordoned: boolean;
  /** Whether the service's checks pass, or there are none. */
  readonly healthy: boolean;
  /** Being emptied by autostop: last in its class, but still welcome. */
  readonly emptying: boolean;
}

/** A number in [0, 1). */
export type Random = () => number;

/**
 * The Machines that may take the work, best first. Never one that is cordoned, unhealthy or at its hard limit.
 *
 * The published rule contradicts itself (superfly/docs reference/load-balancing, 2026-08-07); our reading: the load class
 * comes first (local below soft, local below hard, remote below soft, remote below hard); within a class the closest;
 * among equally close ones the least loaded; then chance. When no running Machine is below its soft limit, the nearest one
 * asleep is woken before anybody is loaded further (fly-proxy-autostop-autostart); otherwise those asleep come last, for
 * when every running one turned out to be unable.
 */
export function orderCandidates<C extends Candidate>(
  candidates: readonly C[],
  options: { readonly random: Random },
): readonly C[] {
  const [only] = candidates;
  if (only === undefined) return candidates;
  if (candidates.length === 1) return isEligible(only) ? candidates : [];

  const eligible = candidates.filter(isEligible);
  const wakeFirst = !eligible.some((c) => c.state === "running" && c.load < c.softLimit);
  return eligible
    .map((candidate) => ({ candidate, rank: rankOf(candidate, wakeFirst), chance: options.random() }))
    .toSorted(
      (a, b) =>
        a.rank - b.rank ||
        Number(a.candidate.emptying) - Number(b.candidate.emptying) ||
        a.candidate.rtt - b.candidate.rtt ||
        a.candidate.load - b.candidate.load ||
        a.chance - b.chance,
    )
    .map(({ candidate }) => candidate);
}

function isEligible(c: Candidate): boolean {
  if (c.state === "down" || c.cordoned || !c.healthy) return false;
  return c.hardLimit === undefined || c.load < c.hardLimit;
}

function rankOf(c: Candidate, wakeFirst: boolean): number {
  if (c.state === "asleep") return wakeFirst ? 0 : 5;
  if (c.local) return c.load < c.softLimit ? 1 : 2;
  return c.load < c.softLimit ? 3 : 4;
}
