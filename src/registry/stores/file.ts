import { readdir, realpath } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../../core/clock.ts";
import { AppError } from "../../core/errors.ts";
import { DEFAULT_NETWORK, PERSONAL_ORG, type HostId, type MachineId } from "../../core/ids.ts";
import { Catalogue } from "../catalogue.ts";
import { Feed } from "../change-feed.ts";
import { createCommands } from "../command-set.ts";
import type { Commands, Registry } from "../commands.ts";
import type { Decision, Draws } from "../decision.ts";
import { encodeRecord, type CatalogueEvent } from "../events.ts";
import type { MachineStatus } from "../model.ts";
import { UlidSource } from "../ulid.ts";
import type { ChangeFeed, RegistryView } from "../view.ts";
import { fileError } from "./durable-files.ts";
import { frame } from "./frame.ts";
import { journalFrom, JournalWriter } from "./journal.ts";
import { lockFolder, type FolderLock } from "./lock.ts";
import { recover, type Recovered } from "./recovery.ts";
import { removeFile, snapshotSeq, writeSnapshot } from "./snapshot.ts";
import { ensureHost, ensureToken, isHostId, prepareStateFolder, STATE } from "./state-folder.ts";

export interface FileRegistryOptions {
  /** The state folder. Made, with all that belongs in it, when it is not there. */
  readonly dir: string;
  readonly clock: Clock;
  /** Unpredictable bytes: tokens and ids are made of them. */
  readonly random: (bytes: number) => Uint8Array;
  /** The host that Machines made here belong to. @default drawn at the first open and kept in the state folder */
  readonly host?: HostId | undefined;
  /** Told, in a sentence for people, of recoveries, failed snapshots and listeners that threw. */
  readonly onNotice: (message: string) => void;
  /** A snapshot is written when the journal is longer than this, in bytes, and than twice the last one. @default 1 MiB */
  readonly snapshotAfter?: number;
}

export interface FileRegistry extends Registry {
  readonly host: HostId;
}

interface Waiting {
  readonly events: readonly CatalogueEvent[];
  /** The framed record; empty for a command that changes nothing. */
  readonly line: string;
  readonly resolve: () => void;
  readonly reject: (error: AppError) => void;
}

/** More commands than this at once are refused: each holds memory until the disk has it. */
const MOST_WAITING = 65_536;
const BATCH = 4 * 1024 * 1024;

/**
 * The registry of one process, in a folder: every command is in a journal and on the disk before it is answered. Commands
 * that come while the disk is busy share the next sync. Readers see a change once it is durable, never before.
 * @errors state_locked, state_newer, state_damaged, no_privilege
 */
export async function openFileRegistry(options: FileRegistryOptions): Promise<FileRegistry> {
  if (options.host !== undefined && !isHostId(options.host)) {
    throw new AppError(
      "invalid",
      `${options.host} is not a host id: it would give Machines the addresses of other things`,
    );
  }
  await prepareStateFolder(options.dir);
  const dir = await realpath(options.dir);
  const stamp = new Date(options.clock.wall()).toISOString();
  const lock = await lockFolder(join(dir, STATE.lock), {
    name: Buffer.from(options.random(8)).toString("hex"),
    now: stamp,
    what: `the state folder ${options.dir}`,
  }).catch((thrown: unknown) => {
    throw fileError(`the state folder ${options.dir} cannot be locked`, thrown);
  });
  try {
    await ensureToken(dir, options.random);
    const host = options.host ?? (await ensureHost(dir, options.random));
    const folder = join(dir, STATE.catalogue);
    const recovered = await recover(folder, { stamp: stamp.replaceAll(/[:.]/g, ""), onNotice: options.onNotice });
    const store = new FileStore(folder, recovered, lock, host, options);
    try {
      if (store.view.organisation(PERSONAL_ORG) === undefined) {
        await store.commands.createOrganisation({ slug: PERSONAL_ORG });
      } else if (store.view.networkNamed(PERSONAL_ORG, DEFAULT_NETWORK) === undefined) {
        await store.commands.ensureNetwork(PERSONAL_ORG, DEFAULT_NETWORK);
      }
    } catch (thrown) {
      await recovered.journal.close();
      throw thrown;
    }
    return store;
  } catch (thrown) {
    await lock.release();
    throw fileError(`the state folder ${options.dir} cannot be used`, thrown);
  }
}

class FileStore implements FileRegistry {
  readonly view: RegistryView;
  readonly commands: Commands;
  readonly changes: ChangeFeed;
  readonly host: HostId;
  readonly #folder: string;
  readonly #feed: Feed;
  readonly #lock: FolderLock;
  readonly #options: FileRegistryOptions;
  readonly #draws: Draws;
  /** What is durable: the view. */
  readonly #published: Catalogue;
  /** What will be durable when everything that waits is: commands are checked against it. */
  #draft: Catalogue;
  #publishedSeq: number;
  #draftSeq: number;
  #journal: JournalWriter;
  #waiting: Waiting[] = [];
  #flushing: Promise<void> | undefined;
  #snapshotting: Promise<void> | undefined;
  #snapshotAt: number;
  #closing: Promise<void> | undefined;

  constructor(folder: string, recovered: Recovered, lock: FolderLock, host: HostId, options: FileRegistryOptions) {
    this.host = host;
    this.#folder = folder;
    this.#lock = lock;
    this.#options = options;
    this.#published = recovered.catalogue;
    this.#publishedSeq = this.#draftSeq = recovered.seq;
    this.#draft = copyOf(recovered.catalogue);
    this.#journal = recovered.journal;
    this.#snapshotAt = options.snapshotAfter ?? 1024 * 1024;
    this.#feed = new Feed(options.onNotice);
    this.view = this.#published;
    this.changes = this.#feed;
    this.commands = createCommands((decide) => this.#run(decide));
    const ulids = new UlidSource(options.random);
    this.#draws = {
      get now() {
        return options.clock.wall();
      },
      host,
      random: options.random,
      ulid: () => ulids.next(options.clock.wall()),
    };
  }

  setStatus(id: MachineId, status: MachineStatus): void {
    const machine = this.#published.machine(id);
    if (machine === undefined || !this.#published.setStatus(id, status)) return;
    this.#feed.send({ kind: "status", id, app: machine.app, status });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#flushing;
    await this.#snapshotting;
    await this.#journal.close();
    await this.#lock.release();
  }

  #run<T>(decide: (state: Catalogue, draws: Draws) => Decision<T>): Promise<T> {
    if (this.#closing !== undefined) return Promise.reject(new AppError("conflict", "the registry is closed"));
    if (this.#waiting.length >= MOST_WAITING) return Promise.reject(new AppError("too_many_requests"));
    let decision: Decision<T>;
    try {
      decision = decide(this.#draft, this.#draws);
    } catch (thrown) {
      return Promise.reject(thrown instanceof Error ? thrown : new Error(String(thrown)));
    }
    if (!decision.ok) return Promise.reject(decision.error);
    const { events, value } = decision.value;
    let line = "";
    if (events.length > 0) {
      this.#draftSeq++;
      line = frame(encodeRecord({ seq: this.#draftSeq, events }));
      for (const event of events) this.#draft.apply(event);
    }
    // Also for a command that changes nothing: what it answers may rest on one that still waits for the disk.
    return new Promise<T>((resolve, reject) => {
      this.#waiting.push({ events, line, resolve: () => resolve(value), reject });
      this.#flushing ??= this.#flush();
    });
  }

  async #flush(): Promise<void> {
    // First the commands of this turn all come in, to share a sync; and `#flushing` is set before it is cleared.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const batch = this.#takeBatch();
      const lines = batch.map(({ line }) => line).join("");
      try {
        if (lines !== "") await this.#journal.append(lines);
      } catch (thrown) {
        this.#fail(batch, thrown);
        continue;
      }
      for (const { events, resolve } of batch) {
        if (events.length > 0) this.#publish(events);
        resolve();
      }
      await this.#startSnapshotWhenDue();
    }
    // In the same turn as the last look at what waits: later would leave a command behind that came in between.
    this.#flushing = undefined;
  }

  #takeBatch(): readonly Waiting[] {
    let size = 0;
    let count = 0;
    while (count < this.#waiting.length && size < BATCH) {
      size += this.#waiting[count]?.line.length ?? 0;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  #publish(events: readonly CatalogueEvent[]): void {
    this.#publishedSeq++;
    const changes = events.map((event) => this.#published.apply(event));
    for (const change of changes) if (change !== undefined) this.#feed.send(change);
  }

  /** Nothing of the batch is on the disk, and what waits behind it may build on it: all of it is refused. */
  #fail(batch: readonly Waiting[], thrown: unknown): void {
    const error = fileError(`the change could not be written to ${this.#journal.path}`, thrown);
    const refused = [...batch, ...this.#waiting];
    this.#waiting = [];
    this.#draft = copyOf(this.#published);
    this.#draftSeq = this.#publishedSeq;
    this.#options.onNotice(error.message);
    for (const { reject } of refused) reject(error);
  }

  /** The journal changes here, between two batches; the snapshot itself is written while commands go on. */
  async #startSnapshotWhenDue(): Promise<void> {
    if (this.#journal.length < this.#snapshotAt || this.#snapshotting !== undefined) return;
    try {
      const next = await JournalWriter.create(this.#folder, this.#publishedSeq + 1);
      const full = this.#journal;
      this.#journal = next;
      await full.close();
    } catch (thrown) {
      this.#snapshotAt *= 2;
      this.#options.onNotice(fileError("no new journal could be begun", thrown).message);
      return;
    }
    this.#snapshotting = this.#snapshot(this.#publishedSeq, this.#published.toEvents()).finally(() => {
      this.#snapshotting = undefined;
    });
  }

  async #snapshot(seq: number, events: readonly CatalogueEvent[]): Promise<void> {
    try {
      const length = await writeSnapshot(this.#folder, seq, events);
      this.#snapshotAt = Math.max(this.#options.snapshotAfter ?? 1024 * 1024, 2 * length);
      await prune(this.#folder);
    } catch (thrown) {
      // Nothing is lost: the journals are all there. The next one is tried when this one has grown.
      this.#options.onNotice(fileError(`the snapshot of ${this.#folder} failed`, thrown).message);
    }
  }
}

/** Keeps the two newest snapshots and every record after the older one: if the newest is damaged, nothing is lost. */
async function prune(folder: string): Promise<void> {
  const names = await readdir(folder);
  const snapshots = names.map(snapshotSeq).filter((seq) => seq !== undefined);
  const kept = snapshots.toSorted((a, b) => b - a).slice(0, 2);
  const oldest = kept[1];
  if (oldest === undefined) return;
  const starts = names
    .map(journalFrom)
    .filter((from) => from !== undefined)
    .toSorted((a, b) => a - b);
  for (const name of names) {
    const seq = snapshotSeq(name);
    if (seq !== undefined && seq < oldest) await removeFile(folder, name);
    const from = journalFrom(name);
    const nextFrom = from === undefined ? undefined : starts.find((start) => start > from);
    if (nextFrom !== undefined && nextFrom - 1 <= oldest) await removeFile(folder, name);
  }
}

function copyOf(catalogue: Catalogue): Catalogue {
  const copy = new Catalogue();
  for (const event of catalogue.toEvents()) copy.apply(event);
  return copy;
}
