import type { NetworkId } from "../core/ids.ts";
import type { NetworkPlane } from "./plane.ts";

/** The networks that the computer itself is a client of (host mode); elsewhere there are none. */
export class HostNetworks {
  readonly #plane: Pick<NetworkPlane, "joinHost" | "leaveHost">;
  #wanted: readonly NetworkId[] | undefined;
  #joined: readonly NetworkId[] = [];

  constructor(plane: Pick<NetworkPlane, "joinHost" | "leaveHost">) {
    this.#plane = plane;
  }

  /** Exactly these from now on; costs nothing when nothing has changed. @returns those that the computer really is in */
  async set(wanted: readonly NetworkId[]): Promise<readonly NetworkId[]> {
    if (this.#wanted?.join() === wanted.join()) return this.#joined;
    const joined: NetworkId[] = [];
    for (const network of wanted) {
      if ((await this.#plane.joinHost?.(network)) !== undefined) joined.push(network);
    }
    await this.#plane.leaveHost?.(joined);
    this.#wanted = wanted;
    this.#joined = joined;
    return joined;
  }
}
