const BACKEND_KEY_DATA = 0x4b; // K
const READY_FOR_QUERY = 0x5a; // Z
const LONGEST_KEY = 4 + 256;

/**
 * Looks through the beginning of what a server says, as far as ReadyForQuery, for the key by which the session can be
 * cancelled. Then, or at the first thing that is no Postgres, it stops looking for good. Keeps at most one key.
 */
export class KeyWatcher {
  readonly #onKey: (key: Buffer) => void;
  #pending: Buffer = Buffer.alloc(0);
  /** Bytes of an uninteresting message that are still to come. */
  #skip = 0;
  #done = false;

  #negotiating: boolean;

  /** `negotiating`: the client asked for encryption first, so the server's first byte answers that. */
  constructor(onKey: (key: Buffer) => void, negotiating: boolean) {
    this.#onKey = onKey;
    this.#negotiating = negotiating;
  }

  see(chunk: Buffer): void {
    if (this.#done) return;
    let at = 0;
    const bytes = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    this.#pending = Buffer.alloc(0);
    while (this.#negotiating && at < bytes.length) {
      const answer = bytes[at];
      // "No" may come twice (GSS, then TLS) before the session goes on in clear text.
      if (answer === 0x4e) at++;
      else if (answer === 0x53 || answer === 0x47) return this.#stop();
      else this.#negotiating = false;
    }
    for (;;) {
      const skipped = Math.min(this.#skip, bytes.length - at);
      at += skipped;
      this.#skip -= skipped;
      if (bytes.length - at < 5) break;
      const type = bytes.readUInt8(at);
      const length = bytes.readUInt32BE(at + 1);
      // Types are letters; anything else (TLS, a refusal of it) is not for us.
      if (type < 0x41 || type > 0x7a || length < 4 || type === READY_FOR_QUERY) return this.#stop();
      if (type === BACKEND_KEY_DATA) {
        if (length - 4 > LONGEST_KEY) return this.#stop();
        if (bytes.length - at < 1 + length) break;
        this.#onKey(Buffer.from(bytes.subarray(at + 5, at + 1 + length)));
      }
      this.#skip = 1 + length;
    }
    if (at < bytes.length) this.#pending = Buffer.from(bytes.subarray(at));
  }

  #stop(): void {
    this.#done = true;
    this.#pending = Buffer.alloc(0);
  }
}
