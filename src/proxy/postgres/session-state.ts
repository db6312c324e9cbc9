import { MessageScanner } from "./message-scanner.ts";

const REQUESTS_FOR_ENCRYPTION: ReadonlySet<number> = new Set([80877103, 80877104]);

/**
 * Whether a session does nothing, told from the messages of both sides: the server has answered everything that was asked,
 * is outside a transaction, and nobody LISTENs. In doubt it does something.
 */
export class SessionState {
  readonly #client: MessageScanner;
  readonly #server: MessageScanner;
  /** Answers that the client waits for; the first one is that to its beginning. */
  #owed = 1;
  #status = "";
  #listens = false;
  /** Encrypted: nothing can be told, ever. */
  #isOpaque = false;
  /** Requests for encryption that the server has not answered. */
  #asked = 0;
  #hasBegun = false;
  #beginning: Buffer = Buffer.alloc(0);
  /** Bytes of the StartupMessage that are still to come. */
  #skip = 0;

  constructor() {
    this.#client = new MessageScanner({
      wanted: "",
      longest: 0,
      onMessage: (type) => {
        // Query, Sync and FunctionCall are each answered by one ReadyForQuery.
        if (type === "Q" || type === "S" || type === "F") this.#owed++;
      },
    });
    this.#server = new MessageScanner({
      wanted: "ZC",
      longest: 64,
      onMessage: (type, body) => {
        if (type === "Z") {
          this.#owed--;
          this.#status = body?.toString("latin1") ?? "";
        } else if (type === "C") {
          const tag = body?.toString("latin1") ?? "";
          if (tag === "LISTEN\0") this.#listens = true;
          // UNLISTEN may be of one channel among several; DISCARD ALL is of all.
          else if (tag === "DISCARD ALL\0") this.#listens = false;
        }
      },
    });
  }

  get isIdle(): boolean {
    if (this.#isOpaque || this.#listens || this.#owed !== 0 || this.#status !== "I") return false;
    return this.#hasBegun && this.#skip === 0 && this.#client.isBetween && this.#server.isBetween;
  }

  fromClient(chunk: Buffer): void {
    if (this.#isOpaque) return;
    let rest = this.#hasBegun ? chunk : this.#begin(chunk);
    const skipped = Math.min(this.#skip, rest.length);
    this.#skip -= skipped;
    rest = rest.subarray(skipped);
    if (rest.length > 0) this.#client.see(rest);
  }

  /** The client's beginning has no letters: requests for encryption, then the StartupMessage. */
  #begin(chunk: Buffer): Buffer {
    let bytes = Buffer.concat([this.#beginning, chunk]);
    while (bytes.length >= 8) {
      const length = bytes.readUInt32BE(0);
      if (!REQUESTS_FOR_ENCRYPTION.has(bytes.readUInt32BE(4))) {
        this.#hasBegun = true;
        this.#skip = length;
        return bytes;
      }
      this.#asked++;
      bytes = bytes.subarray(8);
    }
    this.#beginning = bytes;
    return Buffer.alloc(0);
  }

  fromMachine(chunk: Buffer): void {
    if (this.#isOpaque) return;
    let rest = chunk;
    while (this.#asked > 0 && rest.length > 0) {
      if (rest[0] !== 0x4e) this.#isOpaque = true; // not "N": encrypted from here on
      this.#asked--;
      rest = rest.subarray(1);
    }
    if (rest.length > 0) this.#server.see(rest);
  }
}
