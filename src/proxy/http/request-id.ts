/** Fly-Request-Id: a ULID, a dash, the region of the node (reference §4.1). */
import type { Clock } from "../../core/clock.ts";
import type { RegionCode } from "../../core/ids.ts";

const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
// Two characters for each ten bits: a random part takes eight look-ups instead of sixteen.
const PAIRS = Array.from({ length: 1024 }, (_, n) => ALPHABET.charAt(n >> 5) + ALPHABET.charAt(n & 31));
const POOL_BYTES = 4096;
const BYTES_PER_ID = 16; // eight numbers of two bytes, of which ten bits are used

export class RequestIds {
  readonly #clock: Clock;
  readonly #random: (size: number) => Uint8Array;
  readonly #suffix: string;
  #pool: Uint8Array = new Uint8Array(0);
  #at = 0;
  #time = -1;
  #prefix = "";

  constructor(clock: Clock, random: (size: number) => Uint8Array, region: RegionCode) {
    this.#clock = clock;
    this.#random = random;
    this.#suffix = `-${region}`;
  }

  next(): string {
    const now = this.#clock.wall();
    if (now !== this.#time) {
      this.#time = now;
      this.#prefix = encodeTime(now);
    }
    if (this.#at + BYTES_PER_ID > this.#pool.length) {
      this.#pool = this.#random(POOL_BYTES);
      this.#at = 0;
    }
    let id = this.#prefix;
    for (let i = 0; i < BYTES_PER_ID; i += 2) {
      const high = this.#pool[this.#at + i] ?? 0;
      const low = this.#pool[this.#at + i + 1] ?? 0;
      id += PAIRS[((high << 8) | low) & 1023];
    }
    this.#at += BYTES_PER_ID;
    return id + this.#suffix;
  }
}

/** 48 bits of milliseconds as ten characters. */
function encodeTime(milliseconds: number): string {
  let rest = Math.floor(milliseconds);
  let text = "";
  for (let i = 0; i < 10; i++) {
    text = ALPHABET.charAt(rest % 32) + text;
    rest = Math.floor(rest / 32);
  }
  return text;
}
