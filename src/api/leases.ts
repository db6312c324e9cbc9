import { randomBytes } from "node:crypto";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/errors.ts";
import type { MachineId } from "../core/ids.ts";
import { seconds, type WallTime } from "../core/units.ts";

export interface Lease {
  readonly nonce: string;
  readonly owner: string;
  readonly expiresAt: WallTime;
  readonly description: string;
}

/**
 * Leases on Machines: whoever holds one is the only one who may change the Machine, until it is released or runs out.
 * Memory only: a node that restarted has forgotten them, and so may its clients.
 */
export class Leases {
  readonly #clock: Clock;
  readonly #leases = new Map<MachineId, Lease>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  current(id: MachineId): Lease | undefined {
    const lease = this.#leases.get(id);
    if (lease === undefined || lease.expiresAt > this.#clock.wall()) return lease;
    this.#leases.delete(id);
    return undefined;
  }

  /** Takes the lease, or prolongs it for who shows its nonce. @errors lease_held */
  acquire(id: MachineId, ttlSeconds: number, owner: string, nonce: string | undefined, description: string): Lease {
    const held = this.current(id);
    if (held !== undefined && held.nonce !== nonce) throw leaseHeld(id, held);
    const lease: Lease = {
      nonce: held?.nonce ?? randomBytes(6).toString("hex"),
      owner,
      description,
      expiresAt: (this.#clock.wall() + seconds(ttlSeconds)) as WallTime,
    };
    this.#leases.set(id, lease);
    return lease;
  }

  /** @errors not_found, lease_held */
  release(id: MachineId, nonce: string | undefined): void {
    const held = this.current(id);
    // The platform's client tolerates exactly this text.
    if (held === undefined) throw new AppError("not_found", "lease not found");
    if (held.nonce !== nonce) throw leaseHeld(id, held);
    this.#leases.delete(id);
  }

  /** To be asked before any change. @errors lease_held */
  check(id: MachineId, nonce: string | undefined): void {
    const held = this.current(id);
    if (held !== undefined && held.nonce !== nonce) throw leaseHeld(id, held);
  }

  forget(id: MachineId): void {
    this.#leases.delete(id);
  }
}

function leaseHeld(id: MachineId, lease: Lease): AppError {
  return new AppError(
    "lease_held",
    `the lease of Machine ${id} is held by ${lease.owner} until ${new Date(lease.expiresAt).toISOString()}`,
  );
}
