import { networkInterfaces } from "node:os";
import { AppError } from "../../core/errors.ts";
import type { Ip4 } from "../../core/ids.ts";
import type { Wire } from "./guard.ts";

/** 172.19.0.0/16 in blocks of four: the range that Fly Machines see their proxy in. It exists in our namespace alone. */
const BLOCKS = 16_384;
/** First letters of every interface that is a Machine's or a client's. */
const PREFIX = "fc";

/** Gives out interface names, never twice, and IPv4 pairs, again once they are free. */
export class Wires {
  readonly #used = new Set<number>();
  #cursor = 0;
  #name: number;

  /** `first`: a number above all that earlier lives of the node in the same namespace have used. */
  constructor(first: number) {
    this.#name = first;
  }

  /** @errors exhausted with 16,384 wires at once */
  take(): Wire {
    if (this.#used.size === BLOCKS) {
      throw new AppError("exhausted", `there are no more than ${BLOCKS} Machines and clients on one host`);
    }
    // On from the last one: an old wire may take a while to go.
    while (this.#used.has(this.#cursor)) this.#cursor = (this.#cursor + 1) % BLOCKS;
    const block = this.#cursor;
    this.#cursor = (this.#cursor + 1) % BLOCKS;
    this.#used.add(block);
    const name = `${PREFIX}${(this.#name++).toString(36)}`;
    return { name, ours: pairAddress(block, 1), theirs: pairAddress(block, 2) };
  }

  /** One that an earlier life of the node has given out. */
  adopt(wire: Wire): void {
    this.#used.add(blockOf(wire));
  }

  giveBack(wire: Wire): void {
    this.#used.delete(blockOf(wire));
  }
}

function pairAddress(block: number, offset: 1 | 2): Ip4 {
  return `172.19.${block >> 6}.${(block & 63) * 4 + offset}` as Ip4;
}

function blockOf(wire: Wire): number {
  const [, , high = 0, low = 0] = wire.ours.split(".").map(Number);
  return high * 64 + (low >> 2);
}

/** Whether our end of a wire is still there: the pair ends with the namespace at its other end. */
export function wireExists(wire: Wire): boolean {
  return wire.name in networkInterfaces();
}

/** Names of all Machines' and clients' interfaces in our namespace. */
export function wireNames(): readonly string[] {
  return Object.keys(networkInterfaces()).filter((name) => name.startsWith(PREFIX));
}
