import type { NetworkId } from "../core/ids.ts";

/**
 * How many Machines may be starting at once, on the node and for one network, so that an organisation that wakes a
 * thousand Machines does not take the computer from the others. A slot is held from the start until the driver answers.
 */
export class StartSlots {
  #total: number;
  #share: number;
  #used = 0;
  readonly #perNetwork = new Map<NetworkId, number>();
  readonly #queue: { readonly network: NetworkId; readonly granted: () => void }[] = [];
  readonly #onFree: () => void;

  constructor(limits: { readonly starts: number; readonly perNetwork: number }, onFree: () => void) {
    this.#total = limits.starts;
    this.#share = shareOf(limits);
    this.#onFree = onFree;
  }

  setLimits(limits: { readonly starts: number; readonly perNetwork: number }): void {
    this.#total = limits.starts;
    this.#share = shareOf(limits);
    this.#pump();
  }

  free(network: NetworkId): boolean {
    return this.#used < this.#total && (this.#perNetwork.get(network) ?? 0) < this.#share;
  }

  tryTake(network: NetworkId): boolean {
    if (!this.free(network)) return false; // guard: start-slots
    this.#used++;
    this.#perNetwork.set(network, (this.#perNetwork.get(network) ?? 0) + 1);
    return true;
  }

  /** For commands, which wait their turn: calls back, perhaps at once, with the slot taken. Returns how to leave the queue. */
  take(network: NetworkId, granted: () => void): () => void {
    if (this.tryTake(network)) {
      granted();
      return () => {};
    }
    const entry = { network, granted };
    this.#queue.push(entry);
    return () => {
      const index = this.#queue.indexOf(entry);
      if (index >= 0) this.#queue.splice(index, 1);
    };
  }

  give(network: NetworkId): void {
    this.#used--;
    const left = (this.#perNetwork.get(network) ?? 1) - 1;
    if (left <= 0) this.#perNetwork.delete(network);
    else this.#perNetwork.set(network, left);
    // Connections that were refused a slot come before commands: somebody waits for them.
    this.#onFree();
    this.#pump();
  }

  #pump(): void {
    // Not strictly first come, first served: a network at its share must not hold up the others behind it.
    for (let i = 0; i < this.#queue.length;) {
      const entry = this.#queue[i];
      if (entry === undefined || !this.tryTake(entry.network)) {
        i++;
        continue;
      }
      this.#queue.splice(i, 1);
      entry.granted();
      i = 0;
    }
  }
}

function shareOf(limits: { readonly starts: number; readonly perNetwork: number }): number {
  return Math.max(1, Math.floor(limits.starts * limits.perNetwork));
}
