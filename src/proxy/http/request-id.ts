/** Fly-Request-Id: a ULID, a dash, the region of the node (reference §4.1). */
import type { Clock } from "../../core/clock.ts";
import type { RegionCode } from "../../core/ids.ts";

const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
// Two characters for each ten bits.
const PAIRS = Array.from({ length: 1024 }, (_, n) => ALPHABET.charAt(n >> 5) + ALPHABET.charAt(n & 31));
/** Characters of the random part that stay the same while the counter runs. */
const FIXED_CHARACTERS = 12;
const COUNTER_END = 1 << 20;

/**
 * As the ULID specification allows, ids count up instead of being random each: 60 random bits stay for a while, and 20
 * bits count from a random start. So an id is three joined strings; sixteen random characters would cost more than the parser.
 */
export class RequestIds {
  readonly #clock: Clock;
  readonly #random: (size: number) => Uint8Array;
  readonly #suffix: string;
  #time = -1;
  #fixed = "";
  #prefix = "";
  #counter = COUNTER_END;

  constructor(clock: Clock, random: (size: number) => Uint8Array, region: RegionCode) {
    this.#clock = clock;
    this.#random = random;
    this.#suffix = `-${region}`;
  }

  next(): string {
    const now = this.#clock.wall();
    if (this.#counter >= COUNTER_END) this.#draw();
    if (now !== this.#time) {
      this.#time = now;
      this.#prefix = encodeTime(now) + this.#fixed;
    }
    const counter = this.#counter++;
    return this.#prefix + PAIRS[counter >> 10] + PAIRS[counter & 1023] + this.#suffix;
  }

  #draw(): void {
    const bytes = this.#random(FIXED_CHARACTERS + 2);
    this.#fixed = Array.from(bytes.subarray(0, FIXED_CHARACTERS), (byte) => ALPHABET.charAt(byte & 31)).join("");
    // Half of the range at most, so that a new draw is rare.
    this.#counter = ((bytes[FIXED_CHARACTERS] ?? 0) << 8) | (bytes[FIXED_CHARACTERS + 1] ?? 0);
    this.#time = -1;
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
