import type { NetworkId } from "../core/ids.ts";
import type { ListedPort } from "../network/plane.ts";

export interface ListedChanges {
  readonly added: readonly ListedPort[];
  readonly removed: readonly ListedPort[];
}

/** Counts which ports are used on which networks, and knows what has changed since somebody was told. */
export class Listed {
  readonly #users = new Map<NetworkId, Map<number, number>>();
  readonly #told = new Map<NetworkId, Set<number>>();
  readonly #touched = new Map<NetworkId, Set<number>>();

  /** Every one of these ports is used on every one of these networks by one more, or one less. */
  count(
    { ports, networks }: { readonly ports: ReadonlySet<number>; readonly networks: ReadonlySet<NetworkId> },
    by: 1 | -1,
  ): void {
    for (const network of networks) {
      const users = entry(this.#users, network, () => new Map<number, number>());
      const touched = entry(this.#touched, network, () => new Set<number>());
      for (const port of ports) {
        const count = (users.get(port) ?? 0) + by;
        if (count === 0) users.delete(port);
        else users.set(port, count);
        touched.add(port);
      }
      if (users.size === 0) this.#users.delete(network);
    }
  }

  changes(): ListedChanges {
    const added: ListedPort[] = [];
    const removed: ListedPort[] = [];
    for (const [network, ports] of this.#touched) {
      for (const port of ports) {
        const isUsed = this.#users.get(network)?.has(port) ?? false;
        if (isUsed !== (this.#told.get(network)?.has(port) ?? false))
          (isUsed ? added : removed).push({ network, port });
      }
    }
    return { added, removed };
  }

  /** These changes are known now where they matter. Until then they are told again. */
  told({ added, removed }: ListedChanges): void {
    for (const { network, port } of added) entry(this.#told, network, () => new Set<number>()).add(port);
    for (const { network, port } of removed) {
      const told = this.#told.get(network);
      told?.delete(port);
      if (told?.size === 0) this.#told.delete(network);
    }
    this.#touched.clear();
  }
}

function entry<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const there = map.get(key);
  if (there !== undefined) return there;
  const made = make();
  map.set(key, made);
  return made;
}
