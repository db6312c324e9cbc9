import { readFileSync } from "node:fs";
import type { Limits } from "../config/model.ts";
import type { ErrorCode } from "../core/errors.ts";
import type { NetworkId } from "../core/ids.ts";
import { err, ok, type Result } from "../core/result.ts";

/** Gives back what was taken. Calling it twice gives back once. */
export type GiveBack = () => void;

// Waiters hold up to `hold_buffer` each, so their number is bounded for the node too: 16 full queues.
const WAITERS_PER_QUEUE_LENGTH = 16;
// A handshake takes about a millisecond of CPU and 100 KB of memory while it lasts.
const HANDSHAKES = 2048;

/**
 * What the proxy has open, and who uses it. At the kernel's own limit Node reports nothing and cannot start a Machine, so
 * the proxy stops earlier, by its own count. One network gets at most its share of connections and waiters, and one
 * source that share of its network's.
 */
export class Budget {
  readonly #limits: () => Limits;
  readonly #descriptors: number;
  readonly #shed: (count: number) => number;
  #downstream = 0;
  #upstream = 0;
  /** Connections that were shed and whose end was not told yet: they are not counted any more. */
  #shedding = 0;
  readonly #byNetwork = new Tally<NetworkId>();
  readonly #bySource = new Tally<string>();
  readonly #waiting = new Places();
  readonly #handshakes = new Places();

  /**
   * `descriptors`: how many this process may have, see `descriptorLimit`. `shed`: closes at most so many connections to Machines that
   * are only kept in case they are needed again, and returns how many; asked when new ones would have to be refused otherwise.
   */
  constructor(limits: () => Limits, descriptors: number, shed: (count: number) => number = () => 0) {
    this.#limits = limits;
    this.#descriptors = descriptors;
    this.#shed = shed;
  }

  get downstream(): number {
    return this.#downstream;
  }

  get open(): number {
    return this.#downstream + this.#upstream;
  }

  get waiting(): number {
    return this.#waiting.taken;
  }

  /** Whether other networks than this one have connections open. */
  hasOthers(network: NetworkId): boolean {
    return this.#downstream > this.#byNetwork.get(network);
  }

  /** Descriptors that connections may use. */
  get limit(): number {
    const { connections } = this.#limits();
    if (connections !== "auto") return connections;
    const reserve = Math.max(512, Math.ceil(this.#descriptors / 10));
    // Where 512 would be most of all there is, half must do.
    return this.#descriptors - Math.min(reserve, Math.floor(this.#descriptors / 2));
  }

  /** A client's connection. Counts twice, so that its way to a Machine is never the one that is refused. */
  openDownstream(network: NetworkId, source: string | undefined): Result<GiveBack, ErrorCode> {
    const limit = this.limit;
    if (2 * (this.#downstream + 1) > limit) return err("FP03");
    const share = shareOf(limit / 2, this.#limits().perNetwork);
    if (this.#byNetwork.get(network) >= share) return err("FP04");
    if (source !== undefined && this.#bySource.get(source) >= shareOf(share, this.#limits().perNetwork))
      return err("FP04");
    if (!this.#makeRoom(2, limit)) return err("FP03");
    this.#downstream++;
    this.#byNetwork.add(network, 1);
    if (source !== undefined) this.#bySource.add(source, 1);
    return ok(
      once(() => {
        this.#downstream--;
        this.#byNetwork.add(network, -1);
        if (source !== undefined) this.#bySource.add(source, -1);
      }),
    );
  }

  #makeRoom(count: number, limit: number): boolean {
    const missing = this.open + count - limit;
    if (missing <= 0) return true;
    const shed = Math.min(this.#shed(missing), this.#upstream);
    this.#upstream -= shed;
    this.#shedding += shed;
    return shed >= missing;
  }

  /** A connection to a Machine. */
  openUpstream(): Result<GiveBack, ErrorCode> {
    if (!this.#makeRoom(1, this.limit)) return err("FP03");
    this.#upstream++;
    return ok(
      once(() => {
        // Whichever connection this was: one that was shed is not counted any more.
        if (this.#shedding > 0) this.#shedding--;
        else this.#upstream--;
      }),
    );
  }

  /** A place to wait in, for a wake or for a slot. */
  startWaiting(network: NetworkId): Result<GiveBack, ErrorCode> {
    const total = this.#limits().queueLength * WAITERS_PER_QUEUE_LENGTH;
    return this.#waiting.take(network, total, this.#limits().perNetwork);
  }

  /** The right to begin a TLS handshake. */
  startHandshake(network: NetworkId): Result<GiveBack, ErrorCode> {
    return this.#handshakes.take(network, HANDSHAKES, this.#limits().perNetwork);
  }
}

/** A number of places of which one network may hold a share. */
class Places {
  #taken = 0;
  readonly #byNetwork = new Tally<NetworkId>();

  get taken(): number {
    return this.#taken;
  }

  take(network: NetworkId, total: number, share: number): Result<GiveBack, ErrorCode> {
    if (this.#taken >= total || this.#byNetwork.get(network) >= shareOf(total, share)) return err("FP04");
    this.#taken++;
    this.#byNetwork.add(network, 1);
    return ok(
      once(() => {
        this.#taken--;
        this.#byNetwork.add(network, -1);
      }),
    );
  }
}

/** Never less than one: a share of nothing would be an outage. */
function shareOf(total: number, share: number): number {
  return Math.max(1, Math.floor(total * share));
}

class Tally<K> {
  readonly #counts = new Map<K, number>();

  get(key: K): number {
    return this.#counts.get(key) ?? 0;
  }

  add(key: K, by: number): void {
    const count = this.get(key) + by;
    if (count > 0) this.#counts.set(key, count);
    else this.#counts.delete(key);
  }
}

function once(callback: () => void): GiveBack {
  let done = false;
  return () => {
    if (done) return;
    done = true;
    callback();
  };
}

/** RLIMIT_NOFILE of this process. Where the system does not tell, the usual default of systems that do not. */
export function descriptorLimit(): number {
  try {
    const match = /^Max open files\s+(\d+|unlimited)/m.exec(readFileSync("/proc/self/limits", "latin1"));
    if (match?.[1] === "unlimited") return 1_048_576;
    if (match?.[1] !== undefined) return Number(match[1]);
  } catch {
    // Not Linux.
  }
  return 10_240;
}
