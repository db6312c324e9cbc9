import { open, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { AppError } from "../../core/errors.ts";
import { Catalogue } from "../catalogue.ts";
import { DecodeError } from "../decode.ts";
import { decodeRecord } from "../events.ts";
import { syncFolder, writeFileDurably } from "./durable-files.ts";
import { readFrames, type Frames } from "./frame.ts";
import { FORMAT, journalFrom, JournalWriter } from "./journal.ts";
import { readSnapshot, snapshotSeq } from "./snapshot.ts";

/** What a folder of journals and snapshots held, and the journal to go on with. */
export interface Recovered {
  readonly catalogue: Catalogue;
  /** Number of the last record; 0 when there has never been one. */
  readonly seq: number;
  readonly journal: JournalWriter;
}

/** How a recovery speaks of what it found and did. */
export interface RecoveryOptions {
  /** Part of the names of files that are set aside. */
  readonly stamp: string;
  onNotice(message: string): void;
}

/**
 * Loads the newest snapshot that is whole and every record after it. Damage ends the reading at the last good record; the
 * rest is set aside in files named `damaged-…`, and said.
 * @errors state_newer, state_damaged
 */
export async function recover(folder: string, options: RecoveryOptions): Promise<Recovered> {
  const names = await readdir(folder);
  for (const name of names) if (name.endsWith(".tmp")) await rm(join(folder, name), { force: true });
  const catalogue = new Catalogue();
  let seq = await loadSnapshot(folder, names, catalogue, options);
  const journals = names
    .map((name) => ({ name, from: journalFrom(name) }))
    .filter((entry): entry is { name: string; from: number } => entry.from !== undefined)
    .toSorted((a, b) => a.from - b.from);
  let last: { readonly path: string; readonly length: number } | undefined;
  let cut: string | undefined;
  for (const { name, from } of journals) {
    const path = join(folder, name);
    if (cut !== undefined) {
      // What follows a hole cannot be applied: it may build on what is lost.
      await setAside(folder, name, options);
      continue;
    }
    if (from > seq + 1) {
      throw new AppError("state_damaged", `${folder} lacks the records from ${seq + 1} to ${from - 1}`);
    }
    const file = await readFile(path);
    const frames = readFrames(file);
    const read = applyJournal(catalogue, frames, name, seq);
    seq = read.seq;
    if (read.goodBytes > 0) last = { path, length: read.goodBytes };
    if (read.goodBytes < file.length) {
      await cutOff(folder, name, file.subarray(read.goodBytes), frames.damage === "unfinished", options);
      if (frames.damage !== "unfinished") cut = name;
    }
    // A journal whose first line never got to the disk would mislead whoever counts by file names.
    if (read.goodBytes === 0) await rm(path, { force: true });
  }
  if (cut !== undefined) options.onNotice(`${folder} was recovered up to record ${seq}; later changes are lost`);
  const journal =
    last === undefined || cut !== undefined
      ? await JournalWriter.create(folder, seq + 1)
      : await JournalWriter.resume(last.path, last.length);
  return { catalogue, seq, journal };
}

async function loadSnapshot(
  folder: string,
  names: readonly string[],
  catalogue: Catalogue,
  options: RecoveryOptions,
): Promise<number> {
  const snapshots = names
    .map((name) => ({ name, seq: snapshotSeq(name) }))
    .filter((entry): entry is { name: string; seq: number } => entry.seq !== undefined)
    .toSorted((a, b) => b.seq - a.seq);
  for (const { name, seq } of snapshots) {
    const frames = readFrames(await readFile(join(folder, name)));
    refuseNewer(frames, name);
    const events = readOrExplain(name, () => readSnapshot(frames));
    if (events !== undefined) {
      for (const event of events) catalogue.apply(event);
      return seq;
    }
    await setAside(folder, name, options);
  }
  return 0;
}

function applyJournal(
  catalogue: Catalogue,
  frames: Frames,
  name: string,
  applied: number,
): { readonly seq: number; readonly goodBytes: number } {
  refuseNewer(frames, name);
  let seq = applied;
  for (const { json } of frames.good.slice(1)) {
    const record = readOrExplain(name, () => decodeRecord(json));
    if (record.seq <= seq) continue;
    if (record.seq !== seq + 1) {
      throw new AppError("state_damaged", `${name} goes from record ${seq} to record ${record.seq}`);
    }
    for (const event of record.events) catalogue.apply(event);
    seq = record.seq;
  }
  return { seq, goodBytes: frames.goodBytes };
}

/** Looks at the first line, which says how the rest is to be read. */
function refuseNewer(frames: Frames, name: string): void {
  const header = frames.good[0];
  if (header === undefined) return;
  const value: unknown = JSON.parse(header.json);
  const format = typeof value === "object" && value !== null && "format" in value ? value.format : undefined;
  if (typeof format === "number" && format > FORMAT) {
    throw new AppError(
      "state_newer",
      `${name} has format ${format}, and this version reads up to ${FORMAT}: use a newer Flycast`,
    );
  }
  if (format !== FORMAT) throw new AppError("state_damaged", `${name} does not say what it is`);
}

function readOrExplain<T>(name: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (!(cause instanceof DecodeError)) throw cause;
    // The checksum is right, so this is what somebody wrote: somebody who knows more than this version.
    throw new AppError("state_newer", `${name} holds what this version cannot read: ${cause.message}`, { cause });
  }
}

async function setAside(folder: string, name: string, options: RecoveryOptions): Promise<void> {
  const aside = `damaged-${options.stamp}-${name}`;
  await rename(join(folder, name), join(folder, aside));
  await syncFolder(folder);
  options.onNotice(`${name} in ${folder} is damaged or follows what is; it was kept as ${aside}`);
}

async function cutOff(
  folder: string,
  name: string,
  tail: Buffer,
  unfinished: boolean,
  options: RecoveryOptions,
): Promise<void> {
  // Every kill -9 may leave one unfinished record, which nobody was told of: the last such is enough.
  const aside = unfinished ? "unfinished-record" : `damaged-${options.stamp}-${name}`;
  await writeFileDurably(join(folder, aside), tail, 0o600);
  const what = unfinished ? "ended in an unfinished record" : "is damaged";
  options.onNotice(`${name} in ${folder} ${what}: its last ${tail.length} bytes were kept as ${aside}`);
  const handle = await open(join(folder, name), "r+");
  try {
    await handle.truncate((await handle.stat()).size - tail.length);
    await handle.sync();
  } finally {
    await handle.close();
  }
}
