/**
 * What the proxy knows of Machines: their load, and claims on them. Implemented by `machines/supervisors.ts` for Machines
 * that this node owns. A claim is the only thing that keeps a Machine awake, and taking one is synchronous for a Machine
 * of our own, so that nothing can come between the look and the grasp.
 */
import type { AppError } from "../core/errors.ts";
import type { AppName, MachineId } from "../core/ids.ts";
import type { Monotonic, Port } from "../core/units.ts";
import type { Caller } from "../network/caller.ts";
import type { DialAddress } from "../network/plane.ts";

export interface ClaimRequest {
  readonly machine: MachineId;
  /** Internal port of the service: load and limits are counted per service. */
  readonly service: Port;
  readonly caller: Caller;
  /** `connection`: from accept until both directions ended. `request`: from the end of its head to the last byte of the response. */
  readonly kind: "connection" | "request";
  /** False: only a Machine that already runs will do (Postgres CancelRequest, services without autostart). */
  readonly wake: boolean;
  /** Monotonic time of accept (connection) or end of head (request); starts the wake receipt. */
  readonly since: Monotonic;
}

/** Why a Machine cannot be claimed now. */
export type Refusal =
  | "hard-limit" // its claims for this service are at the hard limit
  | "asleep" // stopped or suspended, and this claim may not wake it
  | "stopping" // it will be startable again as soon as it has stopped: wait for `settled`
  | "draining" // a command is emptying it
  | "backoff" // it failed to start a moment ago
  | "unhealthy" // a check of the service fails
  | "cordoned"
  | "starts-exhausted" // too many Machines start at once: wait for a slot
  | "gone";

export type ClaimOutcome =
  | { readonly ok: true; readonly claim: Claim }
  /** `cause`: the error of the failed start, for `backoff`. */
  | { readonly ok: false; readonly refusal: Refusal; readonly cause?: AppError };

export interface Claim {
  readonly machine: MachineId;
  readonly app: AppName;
  /** The life of the Machine that this claim belongs to. */
  readonly generation: number;
  /** Where to dial, when the Machine already runs; else wait for `ready`. */
  readonly endpoint: Endpoint | undefined;
  /**
   * Resolves when the driver has started the Machine (and, with service checks, the first one passed after a wake).
   * Rejects with an AppError when the wake failed or the Machine went away. Settled at once when `endpoint` is set.
   */
  readonly ready: Promise<Endpoint>;
  /** Monotonic time of the last byte in either direction. Written by the proxy, read by `flycast why`. */
  lastByte: Monotonic;
  /** Calls back when the Machine's life ends while the claim is held: dials must stop. At once if it already has. */
  onLost(callback: (error: AppError) => void): () => void;
  /** Ends the claim. Idempotent: settle always calls it. */
  release(): void;
}

export interface Endpoint {
  readonly generation: number;
  readonly addresses: readonly DialAddress[];
  /** Monotonic time when this life began. A refused connection soon after means "not yet"; see `proxy/connect.ts`. */
  readonly startedAt: Monotonic;
  /** Whether this life began by a wake whose receipt is still open. */
  readonly waking: boolean;
}

export interface MachinePool {
  /** A promise when the owner is elsewhere; a value for Machines of this node. */
  claim(request: ClaimRequest): ClaimOutcome | Promise<ClaimOutcome>;
  /** Claims held for a service of a Machine, waiters included. */
  load(machine: MachineId, service: Port): number;
  /** Whether autostop is emptying the Machine, or its first checks have not passed yet: the balancer puts it last. */
  emptying(machine: MachineId): boolean;
  /** Whether a claim with `wake` could succeed: asleep, startable, not in backoff. */
  startable(machine: MachineId): boolean;
  /** The proxy's connection was accepted by this port in this life: later dials need no patience. Feeds the wake receipt. */
  reportReachable(machine: MachineId, service: Port, generation: number): void;
  /** The port never answered within the wake timeout: counts as a failed wake, with backoff. */
  reportUnreachable(machine: MachineId, service: Port, generation: number, error: AppError): void;
  /** The first byte that a Machine sent in this life, and when it went on to the client. Closes the wake receipt. */
  reportFirstByte(machine: MachineId, generation: number, at: Monotonic): void;
  /** Calls back once when any Machine of the app may be claimable again: a slot freed, a stop settled, a state changed. */
  onChange(app: AppName, callback: () => void): () => void;
}
