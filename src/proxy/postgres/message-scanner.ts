interface ScannerOptions {
  /** Bodies of messages of these types are given, if they are no longer than `longest`; of the others only the type. */
  readonly wanted: string;
  readonly longest: number;
  readonly onMessage: (type: string, body: Buffer | undefined) => void;
}

const NOTHING = Buffer.alloc(0);

/**
 * Finds the messages in one direction of a Postgres session: a letter, a length, a body. Keeps at most one wanted body and
 * a head. What is not Postgres ends it for good.
 */
export class MessageScanner {
  readonly #options: ScannerOptions;
  #pending: Buffer = NOTHING;
  /** Bytes of a body that are still to come and of no interest. */
  #skip = 0;
  #stopped = false;

  constructor(options: ScannerOptions) {
    this.#options = options;
  }

  /** Whether the last message is complete. */
  get isBetween(): boolean {
    return !this.#stopped && this.#skip === 0 && this.#pending.length === 0;
  }

  stop(): void {
    this.#stopped = true;
    this.#pending = NOTHING;
  }

  see(chunk: Buffer): void {
    const bytes = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    this.#pending = NOTHING;
    let at = 0;
    while (!this.#stopped) {
      const skipped = Math.min(this.#skip, bytes.length - at);
      at += skipped;
      this.#skip -= skipped;
      if (bytes.length - at < 5) break;
      const length = bytes.readUInt32BE(at + 1);
      const code = bytes.readUInt8(at);
      if (code < 0x31 || code > 0x7a || length < 4) return this.stop();
      const type = String.fromCharCode(code);
      if (!this.#options.wanted.includes(type) || length - 4 > this.#options.longest) {
        this.#skip = 1 + length;
        this.#options.onMessage(type, undefined);
        continue;
      }
      if (bytes.length - at < 1 + length) break;
      const body = bytes.subarray(at + 5, at + 1 + length);
      at += 1 + length;
      this.#options.onMessage(type, body);
    }
    // A copy: the chunk may be part of a much larger buffer.
    if (!this.#stopped && at < bytes.length) this.#pending = Buffer.from(bytes.subarray(at));
  }
}
