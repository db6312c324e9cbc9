/** A body up to this size is kept until the response begins, so that the request can be sent again (reference §4.4: 1 MB). */
const MAX_RETAINED = 1_000_000;

/** Memory for request bodies that are kept, beyond the hold buffer, in case their app asks for a replay. */
export class RetainedBytes {
  readonly #limit: number;
  #used = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  take(bytes: number): boolean {
    if (this.#used + bytes > this.#limit) return false;
    this.#used += bytes;
    return true;
  }

  giveBack(bytes: number): void {
    this.#used -= bytes;
  }
}

// Most requests have no body: they share this one.
const NOTHING: readonly Buffer[] = [];

/** What came of a request's body so far: until it can be sent, and after that as long as it might be sent again. */
export class RetainedBody {
  /** Undefined: it is not all here any more. */
  chunks: readonly Buffer[] | undefined = NOTHING;
  size = 0;
  readonly #budget: RetainedBytes;
  #budgeted = 0;
  #list: Buffer[] | undefined;

  constructor(budget: RetainedBytes) {
    this.#budget = budget;
  }

  /** `sent`: it has gone out as well, so that it may be forgotten where memory is short. */
  add(chunk: Buffer, sent: boolean): void {
    if (this.chunks === undefined || chunk.length === 0) return;
    this.size += chunk.length;
    if (sent) {
      // What still waits is bounded by the hold buffer instead: the client is paused.
      if (this.size > MAX_RETAINED || !this.#budget.take(chunk.length)) return this.drop();
      this.#budgeted += chunk.length;
    }
    if (this.#list === undefined) this.chunks = this.#list = [chunk];
    else this.#list.push(chunk);
  }

  drop(): void {
    this.chunks = undefined;
    if (this.#budgeted > 0) this.#budget.giveBack(this.#budgeted);
    this.#budgeted = 0;
  }
}
