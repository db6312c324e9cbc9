/** A slot that was taken. Released exactly once by whoever took it. */
export interface Share {
  release(): void;
}

/**
 * Counts what is under way in total, for each network and for each source, so that one of them cannot use up what all
 * need. Memory is bounded by `total`: only what holds a slot is counted.
 */
export class Shares<Network> {
  readonly #limits: { readonly total: number; readonly perNetwork: number; readonly perSource: number };
  readonly #networks = new Map<Network, number>();
  readonly #sources = new Map<string, number>();
  #total = 0;

  constructor(limits: { readonly total: number; readonly perNetwork: number; readonly perSource: number }) {
    this.#limits = limits;
  }

  /** Undefined when one of the limits is reached. */
  take(source: string, network: Network | undefined): Share | undefined {
    const ofNetwork = network === undefined ? 0 : (this.#networks.get(network) ?? 0);
    const ofSource = this.#sources.get(source) ?? 0;
    if (this.#total >= this.#limits.total) return undefined;
    if (ofNetwork >= this.#limits.perNetwork || ofSource >= this.#limits.perSource) return undefined;
    this.#total++;
    if (network !== undefined) this.#networks.set(network, ofNetwork + 1);
    this.#sources.set(source, ofSource + 1);
    let held = true;
    return {
      release: () => {
        if (!held) return;
        held = false;
        this.#total--;
        if (network !== undefined) lower(this.#networks, network);
        lower(this.#sources, source);
      },
    };
  }
}

function lower<Key>(counts: Map<Key, number>, key: Key): void {
  const left = (counts.get(key) ?? 1) - 1;
  if (left === 0) counts.delete(key);
  else counts.set(key, left);
}
