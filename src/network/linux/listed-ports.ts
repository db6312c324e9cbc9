import type { ListedPort } from "../plane.ts";
import type { CommandQueue } from "./commands.ts";
import type { Guard } from "./guard.ts";

/** Lines of some 80 bytes that go into one change: one argument of a process holds 128 KiB, and others may share it. */
const AT_ONCE = 400;

/** Tells the guard which ports of which networks have services. One call at a time. */
export class ListedPorts {
  readonly #guard: Guard;
  readonly #commands: CommandQueue;
  #closed = false;

  constructor(guard: Guard, commands: CommandQueue) {
    this.#guard = guard;
    this.#commands = commands;
  }

  /** @errors internal with the words of `nft` */
  async change(added: readonly ListedPort[], removed: readonly ListedPort[]): Promise<void> {
    const { listPort, unlistPort, refuseUnlisted } = this.#guard;
    if (listPort === undefined || unlistPort === undefined) return;
    await this.#apply([...added.map(listPort), ...removed.map(unlistPort)]);
    // Not before the first are in it: after a restart connections wait for us, and must not be refused.
    if (!this.#closed) await this.#apply(refuseUnlisted ?? []);
    this.#closed = true;
  }

  async #apply(nft: readonly string[]): Promise<void> {
    for (let from = 0; from < nft.length; from += AT_ONCE) {
      await this.#commands.apply({ ip: [], ip6: [], nft: nft.slice(from, from + AT_ONCE) }, "ensure");
    }
  }
}
