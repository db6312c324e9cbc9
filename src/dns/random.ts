/** Random bytes, hard to guess: `node:crypto` randomBytes, or a fixed sequence in tests. */
export type RandomBytes = (size: number) => Uint8Array;

const CHUNK = 1024;

/** Numbers from 0 to 65,535 out of a source of random bytes, fetched in chunks because each call to it is dear. */
export function uint16From(random: RandomBytes): () => number {
  let chunk = new Uint8Array(0);
  let offset = 0;
  return () => {
    if (offset + 2 > chunk.length) {
      chunk = Uint8Array.from(random(CHUNK));
      offset = 0;
    }
    const value = (chunk[offset] ?? 0) * 256 + (chunk[offset + 1] ?? 0);
    offset += 2;
    return value;
  };
}
