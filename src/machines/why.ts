import type { AppName, MachineId } from "../core/ids.ts";
import type { Monotonic, Port, WallTime } from "../core/units.ts";
import type { MachineStateKind, MachineStatus } from "../registry/model.ts";
import type { AutostopVerdict } from "./autostop.ts";
import type { ClaimRequest } from "./pool.ts";

/** One claim, for people. */
export interface Holder {
  readonly service: Port;
  readonly kind: ClaimRequest["kind"];
  /** `[fdaa:…]:51234`, with the Machine that it is where it is one. */
  readonly from: string;
  readonly since: WallTime;
  readonly lastByte: WallTime;
  /** It waits for the Machine to start. */
  readonly waiting: boolean;
  /** False: its caller is a suspended Machine, so it does not keep this one awake. */
  readonly holds: boolean;
}

/** What holds a Machine up, or why it is down, and what happens next. */
export interface WhyReport {
  readonly machine: MachineId;
  readonly app: AppName;
  readonly state: MachineStateKind;
  readonly since: WallTime;
  readonly because: string;
  readonly holders: readonly Holder[];
  /** What policy does next, in one sentence. */
  readonly next: string;
  /** When, at the earliest. Undefined: at no set time. */
  readonly at: WallTime | undefined;
}

/** Everything that the explanation depends on, as it was at one moment. */
export interface WhySnapshot {
  readonly machine: MachineId;
  readonly app: AppName;
  readonly status: MachineStatus;
  readonly holders: readonly Holder[];
  /** Some service with autostart. */
  readonly wakeable: boolean;
  readonly cordoned: boolean;
  /** Times of the monotonic clock; undefined: not so. */
  readonly retryAt: Monotonic | undefined;
  readonly restartAt: Monotonic | undefined;
  readonly drainUntil: Monotonic | undefined;
  readonly verdict: AutostopVerdict | undefined;
  readonly nextPass: Monotonic | undefined;
  /** One moment on both clocks. */
  readonly now: Monotonic;
  readonly wall: WallTime;
}

/** `flycast why MACHINE`: pure. */
export function explain(snapshot: WhySnapshot): WhyReport {
  const { next, at } = whatNext(snapshot);
  return {
    machine: snapshot.machine,
    app: snapshot.app,
    state: snapshot.status.state,
    since: snapshot.status.since,
    because: snapshot.status.because,
    holders: snapshot.holders,
    next,
    at: at === undefined ? undefined : ((snapshot.wall + (at - snapshot.now)) as WallTime),
  };
}

function whatNext(snapshot: WhySnapshot): { readonly next: string; readonly at: Monotonic | undefined } {
  const { status } = snapshot;
  switch (status.state) {
    case "created":
    case "stopped":
    case "suspended":
    case "failed":
      if (snapshot.restartAt !== undefined)
        return { next: "it is started again by its restart policy", at: snapshot.restartAt };
      if (snapshot.cordoned) return { next: "nothing wakes it: it is cordoned", at: undefined };
      if (!snapshot.wakeable) return { next: "nothing wakes it: none of its services has autostart", at: undefined };
      if (snapshot.retryAt !== undefined && snapshot.retryAt > snapshot.now) {
        return { next: "the next connection after the backoff starts it", at: snapshot.retryAt };
      }
      return { next: "the next connection starts it", at: undefined };
    case "starting":
      return { next: "it is handed to those who wait as soon as it answers", at: undefined };
    case "draining":
      return { next: "what is left is cut at the end of the drain timeout", at: snapshot.drainUntil };
    case "started":
      return started(snapshot);
    case "stopping":
    case "suspending":
      return { next: "a connection that arrives now is served as soon as this has settled", at: undefined };
    case "destroying":
    case "destroyed":
      return { next: "it is gone for good", at: undefined };
    default:
      return { next: "unknown", at: undefined };
  }
}

function started(snapshot: WhySnapshot): { readonly next: string; readonly at: Monotonic | undefined } {
  const { verdict, nextPass } = snapshot;
  if (verdict === undefined) return { next: "nothing stops it", at: undefined };
  if (verdict.action === "stop" || verdict.action === "suspend") {
    return { next: `the next pass of autostop will ${verdict.action} it: ${verdict.because}`, at: nextPass };
  }
  if (verdict.action === "empty") {
    return { next: `new connections go to others first: ${verdict.because}`, at: verdict.notBefore ?? nextPass };
  }
  return { next: `it stays up: ${verdict.because}`, at: verdict.notBefore };
}
