import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type { Redis } from "ioredis";
import { AppError } from "../../core/errors.ts";
import type { HostId } from "../../core/ids.ts";
import type { CommandQueue } from "../command-queue.ts";
import { createCatalogueRegistry, type HostRegistry } from "./catalogue-registry.ts";
import { OfflineCopy } from "./offline-copy.ts";
import { openStateFolder, type StateFolderOptions } from "./opened-folder.ts";
import { redisConnection, redisError, shownUrl, type Dial } from "./redis-connection.ts";
import { HostBeats, type HostBeat } from "./redis-hosts.ts";
import { loadFromRedis, parseEntry, RedisLog, redisKeys } from "./redis-log.ts";

export interface RedisRegistryOptions extends StateFolderOptions {
  /** `redis://` or `rediss://`, with user, password and number of the database where needed. */
  readonly url: string;
  /** What nodes of one registry have in common. @default "flycast" */
  readonly prefix?: string;
  /** How to reach Redis where the node itself has no way out. @default straight */
  readonly dial?: Dial;
  /** A snapshot is written after so many records. @default 2000 */
  readonly snapshotAfter?: number;
  /** What this node tells the others of itself: text, such as JSON of its address and region. @default "" */
  readonly about?: string;
  /** Told, in a sentence for people, of lost connections and failed snapshots. */
  readonly onNotice: (message: string) => void;
}

export interface RedisRegistry extends HostRegistry {
  /** The nodes that live, this one included: those that were heard of within the last 15 seconds. */
  hosts(): Promise<readonly HostBeat[]>;
}

const BLOCK = 5000;

/**
 * A registry that many nodes share. A command is decided here and appended there only if nobody else has written since;
 * otherwise it is decided again. Every node follows the stream of records, so all views become the same in the same order.
 * Without Redis all views go on as they were, and commands are refused (`node_unreachable`). A node can even start without it,
 * from the copy that it keeps in its state folder.
 * How durable an acknowledgement is, is Redis' to say: with `appendonly yes` and `appendfsync always` as the file store.
 * @errors node_unreachable (and there is no copy), state_locked, state_newer, state_damaged, no_privilege
 */
export async function openRedisRegistry(options: RedisRegistryOptions): Promise<RedisRegistry> {
  const { url, clock, random, onNotice } = options;
  const folder = await openStateFolder(options);
  const redis = redisConnection(url, options.dial);
  // Its one command waits on purpose; so it may take longer than others.
  const follower = redisConnection(url, options.dial, { commandTimeout: 2 * BLOCK });
  const beats = new HostBeats(
    redis,
    redisKeys(options.prefix ?? "flycast").hosts,
    clock,
    folder.host,
    options.about ?? "",
  );
  const copy = new OfflineCopy(join(folder.dir, "registry-copy"), clock, onNotice);
  let log: RedisLog | undefined;
  let saveLast = async (): Promise<void> => undefined;
  const end = async (): Promise<void> => {
    follow.stop();
    copy.stop();
    await log?.close();
    await saveLast();
    await beats.stop();
    redis.disconnect();
    follower.disconnect();
    await folder.close();
  };
  const follow = new Follower(follower, onNotice, shownUrl(url));
  try {
    const keys = redisKeys(options.prefix ?? "flycast");
    const { catalogue, seq, snapshotSeq } = await load(redis, follower, keys, copy, (thrown) => {
      onNotice(`${redisError(url, thrown).message}; this node goes on with what it knew, and changes wait`);
    });
    const registry = await createCatalogueRegistry({
      catalogue,
      seq,
      host: folder.host,
      clock,
      random,
      onNotice,
      log: (queue) => {
        const explain = (thrown: unknown) => redisError(url, thrown);
        const snapshotAfter = options.snapshotAfter ?? 2000;
        log = new RedisLog({ redis, keys, catalogue, snapshotSeq, snapshotAfter, random, queue, onNotice, explain });
        follow.begin(keys.log, queue, log);
        copy.keep(catalogue, () => queue().seq);
        saveLast = () => copy.save(catalogue, queue().seq);
        return log;
      },
      close: end,
    });
    beats.start();
    return { ...registry, hosts: () => beats.read() };
  } catch (thrown) {
    await end();
    throw redisError(url, thrown);
  }
}

/** From Redis; where that is away, from the copy. Throws why Redis is away when there is none. */
async function load(
  redis: Redis,
  follower: Redis,
  keys: ReturnType<typeof redisKeys>,
  copy: OfflineCopy,
  onAway: (thrown: unknown) => void,
): Promise<Awaited<ReturnType<typeof loadFromRedis>>> {
  try {
    await Promise.all([redis.connect(), follower.connect()]);
    return await loadFromRedis(redis, keys);
  } catch (thrown) {
    if (thrown instanceof AppError) throw thrown;
    const known = await copy.load();
    if (known === undefined) throw thrown;
    onAway(thrown);
    return { ...known, snapshotSeq: known.seq };
  }
}

/** Reads the stream to its end and waits there for more, for as long as the registry is open. */
class Follower {
  readonly #redis: Redis;
  readonly #onNotice: (message: string) => void;
  readonly #where: string;
  #stopped = false;

  constructor(redis: Redis, onNotice: (message: string) => void, where: string) {
    this.#redis = redis;
    this.#onNotice = onNotice;
    this.#where = where;
  }

  begin(key: string, queue: () => CommandQueue, log: RedisLog): void {
    // The queue is made right after the log that it needs.
    setImmediate(() => void this.#run(key, queue, log));
  }

  stop(): void {
    this.#stopped = true;
  }

  async #run(key: string, queue: () => CommandQueue, log: RedisLog): Promise<void> {
    let isAway = false;
    this.#redis.on("ready", () => {
      if (isAway) this.#onNotice(`the registry at ${this.#where} is back`);
      isAway = false;
    });
    while (!this.#stopped) {
      try {
        const answer = await this.#redis.xread("COUNT", 500, "BLOCK", BLOCK, "STREAMS", key, `${queue().seq}-0`);
        for (const [, fields] of answer?.[0]?.[1] ?? []) {
          if (!queue().publishForeign(parseEntry(fields).record)) {
            await log.resync();
            break;
          }
        }
      } catch (thrown) {
        if (this.#stopped) return;
        if (!isAway) this.#onNotice(`the registry at ${this.#where} is away, changes wait: ${String(thrown)}`);
        isAway = true;
        await pause(100);
      }
    }
  }
}

export type { HostBeat, HostId };
