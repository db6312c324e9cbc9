import { AppError } from "../core/errors.ts";
import type { AppName, MachineId } from "../core/ids.ts";
import type { Monotonic } from "../core/units.ts";
import { deferred, type Deferred } from "./deferred.ts";
import type { Claim, ClaimRequest, Endpoint } from "./pool.ts";
import type { ServiceSlot } from "./service-slot.ts";

/** Whoever counts the claims of a Machine. */
export interface ClaimOwner {
  released(claim: HeldClaim): void;
  callbackFailed(thrown: unknown): void;
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
  #callbacks: ((error: AppError) => void)[] | undefined;
  #over = false;
  /** Why it ended, unless it was given back. */
  #lost: AppError | undefined;

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
      if (this.#over) this.#ready.reject(this.#lost ?? givenBack());
    }
    return this.#ready.promise;
  }

  onLost(callback: (error: AppError) => void): () => void {
    if (this.#lost !== undefined) callback(this.#lost);
    if (this.#over) return () => {};
    this.#callbacks ??= [];
    this.#callbacks.push(callback);
    return () => {
      const index = this.#callbacks?.indexOf(callback) ?? -1;
      if (index >= 0) this.#callbacks?.splice(index, 1);
    };
  }

  release(): void {
    if (this.#over) return; // guard: release-once
    this.#end();
    // An error remembers where it was made, which costs more than all the rest: only where somebody waits.
    if (this.endpoint === undefined) this.#ready?.reject(givenBack());
    this.#owner.released(this);
  }

  /** The Machine can be dialled now. Called by the owner. */
  open(endpoint: Endpoint): void {
    if (this.endpoint !== undefined || this.#over) return;
    this.endpoint = endpoint;
    this.#ready?.resolve(endpoint);
  }

  /** The life that this claim belongs to has ended, or never began. Called by the owner, which has already uncounted it. */
  lose(error: AppError): void {
    if (this.#over) return;
    const callbacks = this.#callbacks;
    this.#lost = error;
    this.#end();
    if (this.endpoint === undefined) this.#ready?.reject(error);
    for (const callback of callbacks ?? []) {
      try {
        callback(error);
      } catch (thrown) {
        this.#owner.callbackFailed(thrown); // the other claims must hear of it all the same
      }
    }
  }

  #end(): void {
    this.#over = true;
    this.#callbacks = undefined;
  }
}

function givenBack(): AppError {
  return new AppError("PM10", "the claim was given back");
}
