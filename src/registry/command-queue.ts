import { AppError } from "../core/errors.ts";
import { Catalogue } from "./catalogue.ts";
import type { Feed } from "./change-feed.ts";
import type { Run } from "./command-set.ts";
import type { Decision, Draws } from "./decision.ts";
import { encodeRecord, type CatalogueEvent, type CatalogueRecord } from "./events.ts";

/** Where records become durable. One `append` at a time. */
export interface RecordLog {
  /**
   * Makes the records durable, the first of them as number `after + 1`. `behind`: somebody else has written since, and
   * nothing of this was. With no records it only says whether `after` is still the newest.
   * When it rejects, none of the records count.
   */
  append(records: readonly string[], after: number): Promise<"durable" | "behind">;
  /** Publishes what others have written. Called after `behind`. */
  catchUp(): Promise<void>;
  /** Called after each batch, before the next: for housekeeping between two of them. */
  settled(): Promise<void>;
}

interface Waiting {
  /** Decides on the draft; gives what to call when it is durable. Throws the refusal. */
  readonly decide: (draft: Catalogue) => { readonly events: readonly CatalogueEvent[]; readonly done: () => void };
  readonly reject: (error: Error) => void;
}

interface Batch {
  readonly commands: readonly Waiting[];
  readonly records: readonly CatalogueRecord[];
  readonly json: readonly string[];
  /** What each command gets to hear once the records are durable, refusals included: they may rest on a record of the batch. */
  readonly outcomes: readonly (() => void)[];
}

/** More commands than this at once are refused: each holds memory until it is durable. */
const MOST_WAITING = 65_536;
const BATCH_BYTES = 4 * 1024 * 1024;

/**
 * Takes commands in, decides them in order, makes what they lead to durable in batches, then publishes and answers.
 * Readers see a change once it is durable, never before. Commands that come while a batch is written share the next one.
 */
export class CommandQueue {
  /** What is durable: the view. */
  readonly #published: Catalogue;
  readonly #feed: Feed;
  readonly #draws: Draws;
  readonly #log: RecordLog;
  /** The published state and the batch under way: commands are decided on it. */
  #draft: Catalogue;
  #seq: number;
  #waiting: Waiting[] = [];
  #flushing: Promise<void> | undefined;
  #closed = false;

  constructor(options: {
    readonly published: Catalogue;
    readonly seq: number;
    readonly feed: Feed;
    readonly draws: Draws;
    readonly log: RecordLog;
  }) {
    this.#published = options.published;
    this.#seq = options.seq;
    this.#feed = options.feed;
    this.#draws = options.draws;
    this.#log = options.log;
    this.#draft = copyOf(options.published);
  }

  /** Number of the last record that is published. */
  get seq(): number {
    return this.#seq;
  }

  readonly run: Run = <T>(decide: (state: Catalogue, draws: Draws) => Decision<T>) => {
    if (this.#closed) return Promise.reject(new AppError("conflict", "the registry is closed"));
    if (this.#waiting.length >= MOST_WAITING) return Promise.reject(new AppError("too_many_requests"));
    return new Promise<T>((resolve, reject) => {
      this.#waiting.push({
        decide: (draft) => {
          const decision = decide(draft, this.#draws);
          if (!decision.ok) throw decision.error;
          const { events, value } = decision.value;
          return { events, done: () => resolve(value) };
        },
        reject,
      });
      this.#flushing ??= this.#flush();
    });
  };

  /** A record of somebody else. False: there is a gap before it, and it was not taken. */
  publishForeign(record: CatalogueRecord): boolean {
    if (record.seq <= this.#seq) return true;
    if (record.seq !== this.#seq + 1) return false;
    for (const event of record.events) this.#draft.apply(event);
    this.#publish(record);
    return true;
  }

  /** Makes the published state equal to another one, and tells what changed. */
  replaceWith(seq: number, differences: readonly CatalogueEvent[]): void {
    this.#publish({ seq, events: differences });
    this.#draft = copyOf(this.#published);
  }

  /** Takes nothing more in; resolves when what was asked is settled. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#flushing;
  }

  async #flush(): Promise<void> {
    // First the commands of this turn all come in, to share a batch; and `#flushing` is set before it is cleared.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const batch = this.#decideBatch();
      try {
        if ((await this.#log.append(batch.json, this.#seq)) === "behind") {
          await this.#log.catchUp();
          this.#draft = copyOf(this.#published);
          this.#waiting.unshift(...batch.commands);
          continue;
        }
      } catch (thrown) {
        this.#draft = copyOf(this.#published);
        const error = thrown instanceof Error ? thrown : new Error(String(thrown));
        for (const { reject } of batch.commands) reject(error);
        continue;
      }
      for (const record of batch.records) if (record.seq > this.#seq) this.#publish(record);
      for (const tell of batch.outcomes) tell();
      await this.#log.settled();
    }
    // In the same turn as the last look at what waits: later would leave a command behind that came in between.
    this.#flushing = undefined;
  }

  #decideBatch(): Batch {
    const records: CatalogueRecord[] = [];
    const json: string[] = [];
    const outcomes: (() => void)[] = [];
    let size = 0;
    let count = 0;
    for (const { decide, reject } of this.#waiting) {
      if (size >= BATCH_BYTES) break;
      count++;
      try {
        const { events, done } = decide(this.#draft);
        outcomes.push(done);
        if (events.length === 0) continue;
        const record = { seq: this.#seq + records.length + 1, events };
        const encoded = encodeRecord(record);
        for (const event of events) this.#draft.apply(event);
        records.push(record);
        json.push(encoded);
        size += encoded.length;
      } catch (thrown) {
        outcomes.push(() => reject(thrown instanceof Error ? thrown : new Error(String(thrown))));
      }
    }
    return { commands: this.#waiting.splice(0, count), records, json, outcomes };
  }

  #publish(record: CatalogueRecord): void {
    this.#seq = record.seq;
    const changes = record.events.map((event) => this.#published.apply(event));
    for (const change of changes) if (change !== undefined) this.#feed.send(change);
  }
}

function copyOf(catalogue: Catalogue): Catalogue {
  const copy = new Catalogue();
  for (const event of catalogue.toEvents()) copy.apply(event);
  return copy;
}
