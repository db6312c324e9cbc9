import type { Redis } from "ioredis";
import { AppError } from "../../core/errors.ts";
import { Catalogue } from "../catalogue.ts";
import type { CommandQueue, RecordLog } from "../command-queue.ts";
import { differences } from "../differences.ts";
import { DecodeError } from "../decode.ts";
import { decodeRecord, encodeRecord, type CatalogueRecord } from "../events.ts";

/**
 * What lies in Redis: `PREFIX:seq`, the number of the last record; `PREFIX:log`, a stream with entry `N-0` for record N
 * (fields: record, nonce of the write); `PREFIX:snapshot`, where to find what all records up to a number led to.
 */
export function redisKeys(prefix: string) {
  // One hash slot, so that scripts may touch all of them.
  const key = (name: string): string => `{${prefix}}:${name}`;
  return { seq: key("seq"), log: key("log"), snapshot: key("snapshot"), hosts: key("host:") };
}

// The first writer after a number wins; the others are told what the number is now.
const APPEND = `
local seq = tonumber(redis.call("GET", KEYS[1]) or "0")
if seq ~= tonumber(ARGV[1]) then return seq end
for i = 3, #ARGV do
  seq = seq + 1
  redis.call("XADD", KEYS[2], string.format("%d-0", seq), "r", ARGV[i], "n", ARGV[2])
end
if #ARGV > 2 then redis.call("SET", KEYS[1], string.format("%d", seq)) end
return -1`;

// A newer snapshot takes the place of an older one, never the other way round.
const SWITCH = `
local old = redis.call("GET", KEYS[1])
if old and cjson.decode(old).seq >= tonumber(ARGV[1]) then
  redis.call("DEL", KEYS[3])
  return 0
end
redis.call("PERSIST", KEYS[3])
redis.call("SET", KEYS[1], cjson.encode({seq = tonumber(ARGV[1]), key = KEYS[3]}))
if old then redis.call("DEL", cjson.decode(old).key) end
redis.call("XTRIM", KEYS[2], "MINID", ARGV[2] .. "-0")
return 1`;

const PAGE = 500;
const SLICE = 50;

/** The catalogue as Redis has it. @errors state_newer, state_damaged */
export async function loadFromRedis(
  redis: Redis,
  keys: ReturnType<typeof redisKeys>,
): Promise<{ readonly catalogue: Catalogue; readonly seq: number; readonly snapshotSeq: number }> {
  for (let attempt = 0; attempt < 5; attempt++) {
    const catalogue = new Catalogue();
    const snapshotSeq = await loadSnapshot(redis, keys.snapshot, catalogue);
    // Replaced while it was read: the new one is there.
    if (snapshotSeq === undefined) continue;
    let seq = snapshotSeq;
    let gap = false;
    for (;;) {
      const page = await readRecords(redis, keys.log, seq);
      for (const { record } of page) {
        gap ||= record.seq !== seq + 1;
        for (const event of record.events) catalogue.apply(event);
        seq = record.seq;
      }
      if (page.length < PAGE) break;
    }
    if (!gap) return { catalogue, seq, snapshotSeq };
  }
  throw new AppError("state_damaged", "the registry in Redis lacks records");
}

async function loadSnapshot(redis: Redis, pointerKey: string, into: Catalogue): Promise<number | undefined> {
  const pointer = await redis.get(pointerKey);
  if (pointer === null) return 0;
  const { seq, key } = JSON.parse(pointer) as { seq: number; key: string };
  const parts = await redis.lrange(key, 0, -1);
  if (parts.pop() !== "end") return undefined;
  for (const part of parts) for (const event of read(part).events) into.apply(event);
  return seq;
}

export async function readRecords(
  redis: Redis,
  log: string,
  after: number,
): Promise<readonly { readonly record: CatalogueRecord; readonly nonce: string }[]> {
  return (await redis.xrange(log, `(${after}-0`, "+", "COUNT", PAGE)).map(([, fields]) => parseEntry(fields));
}

export function parseEntry(fields: readonly string[]): { readonly record: CatalogueRecord; readonly nonce: string } {
  return { record: read(fields[1] ?? ""), nonce: fields[3] ?? "" };
}

function read(json: string): CatalogueRecord {
  try {
    return decodeRecord(json);
  } catch (cause) {
    if (!(cause instanceof DecodeError)) throw cause;
    throw new AppError("state_newer", `the registry holds what this version cannot read: ${cause.message}`, { cause });
  }
}

export interface RedisLogOptions {
  readonly redis: Redis;
  readonly keys: ReturnType<typeof redisKeys>;
  readonly catalogue: Catalogue;
  readonly snapshotSeq: number;
  /** A snapshot is written after so many records; as many are kept behind it, for nodes that lag. */
  readonly snapshotAfter: number;
  readonly random: (bytes: number) => Uint8Array;
  readonly queue: () => CommandQueue;
  readonly onNotice: (message: string) => void;
  readonly explain: (thrown: unknown) => AppError;
}

export class RedisLog implements RecordLog {
  readonly #options: RedisLogOptions;
  #snapshotSeq: number;
  #snapshotting: Promise<void> | undefined;

  constructor(options: RedisLogOptions) {
    this.#options = options;
    this.#snapshotSeq = options.snapshotSeq;
  }

  async append(records: readonly string[], after: number): Promise<"durable" | "behind"> {
    const { redis, keys, explain } = this.#options;
    const nonce = this.#nonce();
    // What was never sent needs no search for what became of it.
    if (redis.status !== "ready") throw explain(new Error("there is no connection"));
    let newest: number;
    try {
      newest = Number(await redis.eval(APPEND, 2, keys.seq, keys.log, after, nonce, ...records));
    } catch (thrown) {
      const fate = records.length === 0 ? undefined : await this.#fateOf(nonce, after).catch(() => undefined);
      if (fate === undefined) throw explain(thrown);
      return fate;
    }
    if (newest === -1) return "durable";
    if (newest > after) return "behind";
    // Never back in time by ourselves: what runs goes on, and somebody has to look.
    throw new AppError("state_damaged", `Redis lost records: it has ${newest}, and ${after} were acknowledged`);
  }

  async catchUp(): Promise<void> {
    const { redis, keys, queue } = this.#options;
    for (;;) {
      const page = await readRecords(redis, keys.log, queue().seq);
      for (const { record } of page) {
        if (!queue().publishForeign(record)) return await this.resync();
      }
      if (page.length < PAGE) return;
    }
  }

  /** What lies between us and the oldest record is gone: the whole state is loaded, and the differences are told. */
  async resync(): Promise<void> {
    const { redis, keys, catalogue, queue } = this.#options;
    const loaded = await loadFromRedis(redis, keys);
    this.#snapshotSeq = loaded.snapshotSeq;
    if (loaded.seq > queue().seq) queue().replaceWith(loaded.seq, differences(catalogue, loaded.catalogue));
  }

  async settled(): Promise<void> {
    const seq = this.#options.queue().seq;
    if (seq - this.#snapshotSeq < this.#options.snapshotAfter || this.#snapshotting !== undefined) return;
    this.#snapshotting = this.#snapshot(seq)
      // Nothing is lost by it: the records are all there.
      .catch((thrown: unknown) => this.#options.onNotice(`no snapshot was written: ${String(thrown)}`))
      .finally(() => {
        this.#snapshotting = undefined;
      });
  }

  async close(): Promise<void> {
    await this.#snapshotting;
  }

  async #snapshot(seq: number): Promise<void> {
    const { redis, keys, catalogue, snapshotAfter } = this.#options;
    const events = catalogue.toEvents();
    this.#snapshotSeq = seq;
    const key = `${keys.snapshot}:${seq}:${this.#nonce()}`;
    for (let i = 0; i < events.length; i += SLICE) {
      await redis.rpush(key, encodeRecord({ seq, events: events.slice(i, i + SLICE) }));
      // Should we die before the end, it goes by itself.
      await redis.expire(key, 3600);
    }
    await redis.rpush(key, "end");
    await redis.eval(SWITCH, 3, keys.snapshot, keys.log, key, seq, Math.max(0, seq - snapshotAfter));
  }

  /** The answer was lost on its way: whether the write took place stands in the log. Undefined: it did not. */
  async #fateOf(nonce: string, after: number): Promise<"durable" | "behind" | undefined> {
    const { redis, keys } = this.#options;
    if (redis.status !== "ready") await onceReady(redis);
    const [entry] = await redis.xrange(keys.log, `${after + 1}-0`, `${after + 1}-0`);
    if (entry === undefined) return undefined;
    return parseEntry(entry[1]).nonce === nonce ? "durable" : "behind";
  }

  #nonce(): string {
    return Buffer.from(this.#options.random(12)).toString("hex");
  }
}

/** Waits for the connection to come back, at most as long as one retry of a dead server may take. */
async function onceReady(redis: Redis): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => finish(new Error("the connection did not come back")), 5000);
    const ready = (): void => finish(undefined);
    const finish = (error: Error | undefined): void => {
      clearTimeout(timer);
      redis.off("ready", ready);
      if (error === undefined) resolve();
      else reject(error);
    };
    redis.once("ready", ready);
  });
}
