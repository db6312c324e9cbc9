import { networkInterfaces } from "node:os";
import { AppError } from "../../core/errors.ts";
import type { Ip4 } from "../../core/ids.ts";
import type { Wire } from "./guard.ts";

/** 172.19.0.0/16 in blocks of four: the range that Fly Machines see their proxy in. It exists in our namespace alone. */
const BLOCKS = 16_384;

/** Gives out interface names, never twice, and IPv4 pairs, again once they are free. */
export class Wires {
  readonly #free: number[] = [];
  #block = 0;
  #name = 0;
  readonly #blocks = new Map<string, number>();

  /** @errors exhausted with 16,384 wires at once */
  take(): Wire {
    const block = this.#free.shift() ?? this.#block++;
    if (block >= BLOCKS)
      throw new AppError("exhausted", `there are no more than ${BLOCKS} Machines and clients on one host`);
    const name = `fc${(this.#name++).toString(36)}`;
    this.#blocks.set(name, block);
    return { name, ours: pairAddress(block, 1), theirs: pairAddress(block, 2) };
  }

  giveBack(wire: Wire): void {
    const block = this.#blocks.get(wire.name);
    if (block === undefined) return;
    this.#blocks.delete(wire.name);
    this.#free.push(block);
  }
}

function pairAddress(block: number, offset: 1 | 2): Ip4 {
  return `172.19.${block >> 6}.${(block & 63) * 4 + offset}` as Ip4;
}

/** Whether our end of a wire is still there: the pair ends with the namespace at its other end. */
export function wireExists(wire: Wire): boolean {
  return wire.name in networkInterfaces();
}
