import { AppError } from "../core/errors.ts";
import type { AppName, MachineId } from "../core/ids.ts";
import type { Monotonic } from "../core/units.ts";
import { deferred, type Deferred } from "./deferred.ts";
import type { Claim, ClaimRequest, Endpoint } from "./pool.ts";
import type { ServiceSlot } from "./service-slot.ts";

/** Whoever counts the claims of a Machine. */
export interface ClaimOwner {
  released(claim: HeldClaim): void;
}

/**
 * A claim on a Machine of this node. One is made for each request, so it makes nothing that is not asked for: the promise
 * of `ready` and the list of callbacks come into being when somebody wants them.
 */
export class HeldClaim implements Claim {
  readonly machine: MachineId;
  readonly app: AppName;
  readonly generation: number;
  readonly request: ClaimRequest;
  readonly slot: ServiceSlot;
  endpoint: Endpoint | undefined;
  lastByte: Monotonic;
  /** Its place in the owner's list; −1 once it has ended. Kept by the owner. */
  index = -1;
  readonly #owner: ClaimOwner;
  #ready: Deferred<Endpoint> | undefined;
  #callbacks: Set<(error: AppError) => void> | undefined;
  #ended: AppError | undefined;
  #lost = false;

  constructor(
    owner: ClaimOwner,
    app: AppName,
    generation: number,
    request: ClaimRequest,
    slot: ServiceSlot,
    endpoint: Endpoint | undefined,
  ) {
    this.#owner = owner;
    this.machine = request.machine;
    this.app = app;
    this.generation = generation;
    this.request = request;
    this.slot = slot;
    this.endpoint = endpoint;
    this.lastByte = request.since;
  }

  get ready(): Promise<Endpoint> {
    if (this.endpoint !== undefined) return Promise.resolve(this.endpoint);
    if (this.#ready === undefined) {
      this.#ready = deferred<Endpoint>();
      if (this.#ended !== undefined) this.#ready.reject(this.#ended);
    }
    return this.#ready.promise;
  }

  onLost(callback: (error: AppError) => void): () => void {
    if (this.#lost && this.#ended !== undefined) {
      callback(this.#ended);
      return () => {};
    }
    if (this.#ended !== undefined) return () => {};
    this.#callbacks ??= new Set();
    this.#callbacks.add(callback);
    return () => this.#callbacks?.delete(callback);
  }

  release(): void {
    if (this.#ended !== undefined) return; // guard: release-once
    this.#end(new AppError("PM10", "the claim was given back"));
    this.#owner.released(this);
  }

  /** The Machine can be dialled now. Called by the owner. */
  open(endpoint: Endpoint): void {
    if (this.endpoint !== undefined || this.#ended !== undefined) return;
    this.endpoint = endpoint;
    this.#ready?.resolve(endpoint);
  }

  /** The life that this claim belongs to has ended, or never began. Called by the owner, which has already uncounted it. */
  lose(error: AppError): void {
    if (this.#ended !== undefined) return;
    const callbacks = this.#callbacks;
    this.#lost = true;
    this.#end(error);
    for (const callback of callbacks ?? []) callback(error);
  }

  #end(error: AppError): void {
    this.#ended = error;
    this.#callbacks = undefined;
    if (this.endpoint === undefined) this.#ready?.reject(error);
  }
}
