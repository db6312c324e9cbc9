import { orderCandidates, type Candidate } from "../balancer/order.ts";
import type { Service } from "../config/model.ts";
import { AppError } from "../core/errors.ts";
import type { MachineId } from "../core/ids.ts";
import type { Port } from "../core/units.ts";
import type { Claim, ClaimOutcome, Refusal } from "../machines/pool.ts";
import type { Machine } from "../registry/model.ts";
import type { Wishes, Work } from "./context.ts";
import type { Phases } from "./phases.ts";

export type Choice =
  | { readonly kind: "claimed"; readonly claim: Claim }
  /** Nothing now, but something may change. `full`: at the hard limit; `settling`: stopping, draining, too many starts. */
  | { readonly kind: "wait"; readonly why: "full" | "settling" }
  | { readonly kind: "refused"; readonly error: AppError };

type Chooser = Pick<Phases, "view" | "pool" | "closeness" | "random">;

interface Option extends Candidate {
  readonly subject: Machine;
  readonly service: Service;
  readonly wake: boolean;
  /** Why it is `down`; undefined for the others. */
  readonly why: Refusal | undefined;
}

/**
 * The balancer's order, and the first claim that succeeds. Synchronous unless a Machine's owner is elsewhere: between the
 * look at the loads and the grasp nothing else runs.
 */
export function choose(phases: Chooser, work: Work): Choice | Promise<Choice> {
  const options = optionsFor(phases, work);
  const ordered = preferred(orderCandidates(options, phases), work.wishes);
  // Those that cannot be woken now are asked last: their refusal carries the cause.
  const last = options.filter((option) => option.why === "backoff");
  const asked = last.length === 0 ? ordered : ordered.concat(last);
  // Made when the first one refuses: most work is taken by the first that is asked, and this runs for every request.
  let refusals: Refusals | undefined;
  let index = 0;
  for (const option of asked) {
    const outcome = claim(phases, work, option);
    if (outcome instanceof Promise)
      return chooseSlowly(phases, work, asked, index, outcome, refusals ?? new Refusals(options));
    if (outcome.ok) return { kind: "claimed", claim: outcome.claim };
    refusals ??= new Refusals(options);
    refusals.add(option, outcome);
    index++;
  }
  return (refusals ?? new Refusals(options)).verdict(work);
}

async function chooseSlowly(
  phases: Chooser,
  work: Work,
  asked: readonly Option[],
  from: number,
  first: Promise<ClaimOutcome>,
  refusals: Refusals,
): Promise<Choice> {
  let pending: ClaimOutcome | Promise<ClaimOutcome> = first;
  for (let index = from; ;) {
    const option = asked[index];
    if (option === undefined) return refusals.verdict(work);
    const outcome = await pending;
    if (outcome.ok) return { kind: "claimed", claim: outcome.claim };
    refusals.add(option, outcome);
    index++;
    const next = asked[index];
    if (next === undefined) return refusals.verdict(work);
    pending = claim(phases, work, next);
  }
}

function claim(phases: Chooser, work: Work, option: Option): ClaimOutcome | Promise<ClaimOutcome> {
  return phases.pool.claim({
    machine: option.machine,
    service: option.service.internalPort,
    caller: work.connection.caller,
    kind: work.kind,
    wake: option.wake,
    since: work.since,
  });
}

function optionsFor(phases: Chooser, work: Work): Option[] {
  const { caller } = work.connection;
  const port = externalPort(work);
  const options: Option[] = [];
  for (const subject of phases.view.machinesOf(work.app)) {
    if (work.excluded.has(subject.id) || !isWished(subject, work.wishes)) continue;
    const service = serviceOn(subject, port);
    if (service === undefined) continue;
    const status = phases.view.status(subject.id);
    const wake = work.wake && service.autostart;
    const standing = standingOf(status.state, wake && phases.pool.startable(subject.id), wake);
    options.push({
      machine: subject.id,
      subject,
      service,
      wake,
      state: standing.state,
      why: standing.why,
      local: subject.region === caller.region,
      rtt: phases.closeness(caller.region, subject.region),
      load: phases.pool.load(subject.id, service.internalPort),
      softLimit: service.concurrency.softLimit,
      hardLimit: service.concurrency.hardLimit,
      cordoned: subject.cordoned,
      // Checks say nothing of a Machine that is not up; the wake waits for the first one.
      healthy: status.state !== "started" || !status.unhealthyPorts.has(service.internalPort),
      emptying: phases.pool.emptying(subject.id),
    });
  }
  return options;
}

/** The internal port by which the Machine offers what the work asks for, as its definition says now. */
export function servicePortOf(phases: Pick<Phases, "view">, work: Work, machine: MachineId): Port {
  const subject = phases.view.machine(machine);
  const service = subject === undefined ? undefined : serviceOn(subject, externalPort(work));
  return (service ?? work.route.service).internalPort;
}

/** After a replay the other app may not list the port that was dialled; then the route that was found says which. */
function externalPort(work: Work): number {
  const { port } = work.route;
  const dialled = work.connection.destination.port;
  return dialled >= port.start && dialled <= port.end ? dialled : port.start;
}

function serviceOn(machine: Machine, port: number): Service | undefined {
  return machine.config.services.find((service) => service.ports.some((p) => port >= p.start && port <= p.end));
}

function standingOf(
  state: ReturnType<Phases["view"]["status"]>["state"],
  startable: boolean,
  wake: boolean,
): { readonly state: Candidate["state"]; readonly why: Refusal | undefined } {
  switch (state) {
    case "started":
    case "starting":
      return { state: "running", why: undefined };
    case "created":
    case "stopped":
    case "suspended":
    case "failed":
      if (startable) return { state: "asleep", why: undefined };
      return { state: "down", why: wake ? "backoff" : "asleep" };
    case "draining":
      return { state: "down", why: "draining" };
    case "stopping":
    case "suspending":
      return { state: "down", why: wake ? "stopping" : "asleep" };
    case "destroying":
    case "destroyed":
      return { state: "down", why: "gone" };
  }
}

function isWished(machine: Machine, wishes: Wishes): boolean {
  if (wishes.forceMachine !== undefined && machine.id !== wishes.forceMachine) return false;
  if (wishes.notMachine !== undefined && machine.id === wishes.notMachine) return false;
  return wishes.forceRegions === undefined || wishes.forceRegions.includes(machine.region);
}

/** Preferences move to the front what the balancer allows anyway; they never make a Machine eligible. */
function preferred(ordered: readonly Option[], wishes: Wishes): readonly Option[] {
  const { preferMachine, preferRegions } = wishes;
  if (preferMachine === undefined && preferRegions === undefined) return ordered;
  const rank = (option: Option): number => {
    if (option.machine === preferMachine) return -1;
    const region = preferRegions?.indexOf(option.subject.region) ?? -1;
    return region < 0 ? Number.MAX_SAFE_INTEGER : region;
  };
  return ordered.toSorted((a, b) => rank(a) - rank(b));
}

/** Why nobody took the work: whether waiting helps, and what to say if not. */
class Refusals {
  readonly #reasons = new Map<string, Refusal>();
  #cause: AppError | undefined;

  constructor(options: readonly Option[]) {
    for (const option of options) {
      const reason = reasonOf(option);
      if (reason !== undefined) this.#reasons.set(option.machine, reason);
    }
  }

  add(option: Option, outcome: Extract<ClaimOutcome, { ok: false }>): void {
    this.#reasons.set(option.machine, outcome.refusal);
    if (outcome.cause !== undefined) this.#cause = outcome.cause;
  }

  verdict(work: Work): Choice {
    const reasons = [...this.#reasons.values()];
    if (reasons.includes("hard-limit")) return { kind: "wait", why: "full" };
    // A Machine that is stopping will be asleep: no use to those that may not wake it.
    const settling = work.wake && reasons.some((r) => r === "stopping" || r === "draining" || r === "starts-exhausted");
    if (settling) return { kind: "wait", why: "settling" };
    if (this.#cause !== undefined) return { kind: "refused", error: this.#cause };
    return { kind: "refused", error: new AppError("PR01", explain(reasons), { details: { app: work.app } }) };
  }
}

function reasonOf(option: Option): Refusal | undefined {
  if (option.cordoned) return "cordoned";
  if (option.state === "down") return option.why;
  if (!option.healthy) return "unhealthy";
  if (option.hardLimit !== undefined && option.load >= option.hardLimit) return "hard-limit";
  return undefined;
}

function explain(reasons: readonly Refusal[]): string {
  if (reasons.length === 0) return "no Machine of the app can take the connection: there is none for this port";
  const counts = new Map<Refusal, number>();
  for (const reason of reasons) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  const list = [...counts].map(([reason, count]) => `${count} ${reason}`).join(", ");
  return `no Machine of the app can take the connection: ${list}`;
}
