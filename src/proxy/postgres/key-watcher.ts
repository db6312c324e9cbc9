import { MessageScanner } from "./message-scanner.ts";

const LONGEST_KEY = 4 + 256;

/**
 * Looks through the beginning of what a server says, as far as ReadyForQuery, for the key by which the session can be
 * cancelled. Then, or at the first thing that is no Postgres, it stops looking for good.
 */
export class KeyWatcher {
  readonly #scanner: MessageScanner;
  #negotiating: boolean;
  #done = false;

  /** `negotiating`: the client asked for encryption first, so the server's first byte answers that. */
  constructor(onKey: (key: Buffer) => void, negotiating: boolean) {
    this.#negotiating = negotiating;
    this.#scanner = new MessageScanner({
      wanted: "K",
      longest: LONGEST_KEY,
      onMessage: (type, body) => {
        if (type === "K" && body !== undefined) onKey(Buffer.from(body));
        else if (type === "Z") this.#stop();
      },
    });
  }

  see(chunk: Buffer): void {
    if (this.#done) return;
    let rest = chunk;
    while (this.#negotiating && rest.length > 0) {
      const answer = String.fromCharCode(rest[0] ?? 0);
      // "No" may come twice (GSS, then TLS) before the session goes on in clear text.
      if (answer === "N") rest = rest.subarray(1);
      else if (answer === "S" || answer === "G") return this.#stop();
      else this.#negotiating = false;
    }
    this.#scanner.see(rest);
  }

  #stop(): void {
    this.#done = true;
    this.#scanner.stop();
  }
}
