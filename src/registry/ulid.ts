import type { WallTime } from "../core/units.ts";

// Crockford's base 32: no I, L, O, U (github.com/ulid/spec).
const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const MAX_TIME = 2 ** 48 - 1;

/**
 * Makes ULIDs: 48 bits of milliseconds, 80 bits of randomness, 26 characters that sort by time. Within one millisecond,
 * and when the wall clock steps back, the random part counts up instead, so that each one sorts after the one before.
 */
export class UlidSource {
  readonly #random: (bytes: number) => Uint8Array;
  #time = -1;
  readonly #tail = new Uint8Array(10);

  constructor(random: (bytes: number) => Uint8Array) {
    this.#random = random;
  }

  next(now: WallTime): string {
    const time = Math.min(MAX_TIME, Math.max(0, Math.floor(now)));
    if (time > this.#time) {
      this.#time = time;
      this.#tail.set(this.#random(10).subarray(0, 10));
    } else if (!increment(this.#tail)) {
      // 2^80 ids within a millisecond: borrow the next one.
      this.#time = Math.min(MAX_TIME, this.#time + 1);
    }
    return encodeTime(this.#time) + encodeTail(this.#tail);
  }
}

/** False when the counter ran over. */
function increment(bytes: Uint8Array): boolean {
  for (let i = bytes.length - 1; i >= 0; i--) {
    const value = (bytes[i] ?? 0) + 1;
    bytes[i] = value & 0xff;
    if (value <= 0xff) return true;
  }
  return false;
}

function encodeTime(time: number): string {
  let rest = time;
  let text = "";
  for (let i = 0; i < 10; i++) {
    text = ALPHABET.charAt(rest % 32) + text;
    rest = Math.floor(rest / 32);
  }
  return text;
}

function encodeTail(bytes: Uint8Array): string {
  let text = "";
  let bits = 0;
  let value = 0;
  for (const byte of bytes) {
    value = (value << 8) | byte;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += ALPHABET.charAt((value >>> bits) & 31);
      value &= (1 << bits) - 1;
    }
  }
  return text;
}
