import type { Redis } from "ioredis";
import type { Clock, Timer } from "../../core/clock.ts";
import type { HostId } from "../../core/ids.ts";
import { ms } from "../../core/units.ts";

/** What a living node says of itself. */
export interface HostBeat {
  readonly host: HostId;
  readonly about: string;
}

const EVERY = ms(5000);
const EXPIRES = 15_000;

/** Keeps a key alive for as long as this node lives; whoever's key is gone is taken for dead. */
export class HostBeats {
  readonly #redis: Redis;
  readonly #prefix: string;
  readonly #clock: Clock;
  readonly #key: string;
  readonly #about: string;
  #timer: Timer | undefined;
  #started = false;

  constructor(redis: Redis, prefix: string, clock: Clock, host: HostId, about: string) {
    this.#redis = redis;
    this.#prefix = prefix;
    this.#clock = clock;
    this.#key = prefix + host.toString(16).padStart(8, "0");
    this.#about = about;
  }

  start(): void {
    this.#started = true;
    this.#beat();
  }

  async read(): Promise<readonly HostBeat[]> {
    const hosts: HostBeat[] = [];
    let cursor = "0";
    do {
      const [next, keys] = await this.#redis.scan(cursor, "MATCH", `${this.#prefix}*`, "COUNT", 500);
      cursor = next;
      const values = keys.length === 0 ? [] : await this.#redis.mget(...keys);
      for (const [i, key] of keys.entries()) {
        const about = values[i];
        const host = Number.parseInt(key.slice(this.#prefix.length), 16);
        if (typeof about === "string") hosts.push({ host: host as HostId, about });
      }
    } while (cursor !== "0");
    // A scan may show a key twice.
    return [...new Map(hosts.map((beat) => [beat.host, beat])).values()].toSorted((a, b) => a.host - b.host);
  }

  /** Says goodbye, so that nobody waits for the key to expire. */
  async stop(): Promise<void> {
    this.#timer?.cancel();
    if (!this.#started) return;
    this.#started = false;
    await this.#redis.del(this.#key).catch(() => undefined);
  }

  #beat(): void {
    this.#redis.set(this.#key, this.#about, "PX", EXPIRES).catch(() => {
      // Away; the next beat tries again, and commands say so.
    });
    this.#timer = this.#clock.after(EVERY, () => this.#beat());
  }
}
