import type { AppError } from "../core/errors.ts";
import type { MachineId } from "../core/ids.ts";
import type { Monotonic, Port } from "../core/units.ts";
import type { Service } from "../config/model.ts";
import type { HeldClaim } from "./held-claim.ts";
import { ServiceSlot } from "./service-slot.ts";

/** The claims on one Machine, and how many each of its services has. Taking and giving back cost the same with ten thousand. */
export class ClaimLedger {
  readonly #claims: HeldClaim[] = [];
  readonly #slots = new Map<Port, ServiceSlot>();
  /** When the last claim ended. 0: never. */
  lastEnded = 0 as Monotonic;

  get count(): number {
    return this.#claims.length;
  }

  get claims(): readonly HeldClaim[] {
    return this.#claims;
  }

  configure(services: readonly Service[]): void {
    for (const slot of this.#slots.values()) {
      if (services.some((service) => service.internalPort === slot.port)) continue;
      slot.configure(undefined);
      if (slot.inFlight === 0) this.#slots.delete(slot.port);
    }
    for (const service of services) {
      let slot = this.#slots.get(service.internalPort);
      if (slot === undefined) {
        slot = new ServiceSlot(service.internalPort);
        this.#slots.set(service.internalPort, slot);
      }
      slot.configure(service);
    }
  }

  slot(port: Port): ServiceSlot | undefined {
    return this.#slots.get(port);
  }

  slots(): Iterable<ServiceSlot> {
    return this.#slots.values();
  }

  add(claim: HeldClaim): void {
    claim.index = this.#claims.length;
    this.#claims.push(claim);
    claim.slot.inFlight++;
  }

  remove(claim: HeldClaim, now: Monotonic): void {
    // The last one takes its place: no shifting.
    const last = this.#claims.pop();
    if (last !== undefined && last !== claim) {
      last.index = claim.index;
      this.#claims[claim.index] = last;
    }
    claim.index = -1;
    claim.slot.inFlight--; // guard: uncount
    this.lastEnded = now;
  }

  /**
   * Claims that hold the Machine up: all but connections whose caller is itself a suspended Machine, which cannot miss
   * anything before somebody resumes it (design §4.5).
   */
  holding(isSuspended: (machine: MachineId) => boolean): number {
    let held = 0;
    for (const claim of this.#claims) if (holds(claim, isSuspended)) held++;
    return held;
  }

  /** Ends the claims that have no endpoint yet: all, or those of one service. */
  failWaiters(error: AppError, now: Monotonic, slot?: ServiceSlot): void {
    this.#lose(
      this.#claims.filter((claim) => claim.endpoint === undefined && (slot === undefined || claim.slot === slot)),
      error,
      now,
    );
  }

  loseAll(error: AppError, now: Monotonic): void {
    this.#lose([...this.#claims], error, now);
  }

  #lose(claims: readonly HeldClaim[], error: AppError, now: Monotonic): void {
    // All are uncounted before anybody is told: a callback may claim again at once.
    for (const claim of claims) this.remove(claim, now);
    for (const claim of claims) claim.lose(error);
  }
}

export function holds(claim: HeldClaim, isSuspended: (machine: MachineId) => boolean): boolean {
  const caller = claim.request.caller.machine;
  return claim.request.kind === "request" || caller === undefined || !isSuspended(caller);
}
