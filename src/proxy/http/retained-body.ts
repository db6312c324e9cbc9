import type { Limits } from "../../config/model.ts";
import type { NetworkId } from "../../core/ids.ts";

/** A body up to this size is kept until the response begins, so that the request can be sent again (reference §4.4: 1 MB). */
const MAX_RETAINED = 1_000_000;

/**
 * Memory for request bodies that are kept, beyond the hold buffer, in case their app asks for a replay: `replay_memory`,
 * of which one network may use the share `per_network`.
 */
export class RetainedBytes {
  readonly #limits: () => Pick<Limits, "replayMemory" | "perNetwork">;
  readonly #byNetwork = new Map<NetworkId, number>();
  #used = 0;

  constructor(limits: () => Pick<Limits, "replayMemory" | "perNetwork">) {
    this.#limits = limits;
  }

  take(network: NetworkId, bytes: number): boolean {
    const { replayMemory, perNetwork } = this.#limits();
    const ofNetwork = (this.#byNetwork.get(network) ?? 0) + bytes;
    if (this.#used + bytes > replayMemory || ofNetwork > replayMemory * perNetwork) return false;
    this.#used += bytes;
    this.#byNetwork.set(network, ofNetwork);
    return true;
  }

  giveBack(network: NetworkId, bytes: number): void {
    this.#used -= bytes;
    const left = (this.#byNetwork.get(network) ?? 0) - bytes;
    if (left > 0) this.#byNetwork.set(network, left);
    else this.#byNetwork.delete(network);
  }
}

// Most requests have no body: they share this one.
const NOTHING: readonly Buffer[] = [];

/** What came of a request's body so far: until it can be sent, and after that as long as it might be sent again. */
export class RetainedBody {
  /** Undefined: it is not all here any more. */
  chunks: readonly Buffer[] | undefined = NOTHING;
  size = 0;
  readonly #budget: RetainedBytes;
  readonly #network: NetworkId;
  #budgeted = 0;
  #list: Buffer[] | undefined;

  /** `network`: of the client. */
  constructor(budget: RetainedBytes, network: NetworkId) {
    this.#budget = budget;
    this.#network = network;
  }

  /** `sent`: it has gone out as well, so that it may be forgotten where memory is short. */
  add(chunk: Buffer, sent: boolean): void {
    if (this.chunks === undefined || chunk.length === 0) return;
    this.size += chunk.length;
    if (sent) {
      // What still waits is bounded by the hold buffer instead: the client is paused.
      if (this.size > MAX_RETAINED || !this.#budget.take(this.#network, chunk.length)) return this.drop();
      this.#budgeted += chunk.length;
    }
    if (this.#list === undefined) this.chunks = this.#list = [chunk];
    else this.#list.push(chunk);
  }

  drop(): void {
    this.chunks = undefined;
    if (this.#budgeted > 0) this.#budget.giveBack(this.#network, this.#budgeted);
    this.#budgeted = 0;
  }
}
