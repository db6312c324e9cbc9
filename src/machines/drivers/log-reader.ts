/** Reads what `output-files.ts` keeps: the last lines of a Machine's output, and new ones as they come. */
import { closeSync, existsSync, fstatSync, mkdirSync, openSync, readSync, watch } from "node:fs";
import { StringDecoder } from "node:string_decoder";
import { OUTPUT_LIMIT, outputPaths } from "./output-files.ts";
import { TimeTable } from "./time-table.ts";

export interface LogOptions {
  /** How many of the lines that are there; at most 20,000. @default 100 */
  readonly lines?: number;
  /** Go on with whatever comes, until `signal` aborts. @default false */
  readonly follow?: boolean;
  readonly signal?: AbortSignal;
}

export interface LogLine {
  /** Milliseconds since the epoch; at most about 100 ms late. */
  readonly time: number;
  /** Without its newline. Longer lines than 16 KiB come in pieces. */
  readonly text: string;
}

const LINE_LIMIT = 16 * 1024;
/** They are read in one go, on the node's only thread. */
const MOST_LINES = 20_000;
const CHUNK = 256 * 1024;

export interface Lot {
  readonly lines: readonly LogLine[];
  /** Where the next look begins: bytes since the Machine's first. */
  readonly position: number;
}

export function existingLogs(folder: string): readonly string[] {
  const { oldLog, log } = outputPaths(folder);
  return [oldLog, log].filter((path) => existsSync(path));
}

/** The last `count` lines, oldest first, the unfinished one at the end included. Reads backwards, at most both files. */
export function tailOf(folder: string, count: number): readonly LogLine[] {
  return lastLines(folder, tablesOf(folder), Math.min(count, MOST_LINES), false).lines;
}

/**
 * Whole lines from a position on, at most 256 KiB of them; without a position the last `count`. For readers that come again
 * and again, with the position that they were given.
 */
export function linesSince(folder: string, position: number | undefined, count: number): Lot {
  const tables = tablesOf(folder);
  if (position !== undefined) return linesFrom(folder, tables, position);
  return lastLines(folder, tables, Math.min(count, MOST_LINES), true);
}

/**
 * Yields `time text`. Ends after the lines that are there, or, when it follows, after the abort or `return()`, even while
 * nothing comes. Never throws for an abort.
 */
export function readLog(folder: string, options: LogOptions): AsyncIterableIterator<string> {
  const own = new AbortController();
  const signal = options.signal === undefined ? own.signal : AbortSignal.any([options.signal, own.signal]);
  const texts = readTexts(folder, { ...options, signal });
  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    next: () => texts.next(),
    // A generator that waits for output would not hear of it.
    return() {
      own.abort();
      return texts.return(undefined);
    },
  };
}

async function* readTexts(folder: string, options: LogOptions): AsyncGenerator<string, void, undefined> {
  for await (const lines of readLines(folder, options)) {
    for (const { time, text } of lines) yield `${new Date(time).toISOString()} ${text}`;
  }
}

async function* readLines(folder: string, options: LogOptions): AsyncGenerator<readonly LogLine[], void, undefined> {
  const { signal } = options;
  if (options.follow !== true) {
    yield tailOf(folder, options.lines ?? 100);
    return;
  }
  mkdirSync(folder, { recursive: true, mode: 0o700 }); // a Machine that has never run: its first line will come
  let wake: (() => void) | undefined;
  let changed = true;
  const stir = (): void => {
    changed = true;
    wake?.();
  };
  const stopWatching = watchFolder(folder, stir);
  signal?.addEventListener("abort", stir);
  try {
    const tables = tablesOf(folder);
    const first = lastLines(folder, tables, Math.min(options.lines ?? 100, MOST_LINES), true);
    yield first.lines;
    let { position } = first;
    while (signal?.aborted !== true) {
      if (!changed) await new Promise<void>((resolve) => (wake = resolve));
      changed = false;
      for (;;) {
        const lot = linesFrom(folder, tables, position);
        if (lot.position === position) break;
        ({ position } = lot);
        yield lot.lines;
      }
    }
  } finally {
    stopWatching();
    signal?.removeEventListener("abort", stir);
  }
}

/** Calls back when something in a folder changed; four times a second where the system has no watches left to give. */
function watchFolder(folder: string, callback: () => void): () => void {
  try {
    const watcher = watch(folder, { persistent: false }, callback);
    // The folder was removed: a last look, and then nothing more can come.
    watcher.on("error", callback);
    return () => watcher.close();
  } catch {
    const timer = setInterval(callback, 250);
    return () => clearInterval(timer);
  }
}

interface Tables {
  readonly current: TimeTable;
  readonly old: TimeTable;
}

function tablesOf(folder: string): Tables {
  const { times, oldTimes } = outputPaths(folder);
  return { current: new TimeTable(times).refresh(), old: new TimeTable(oldTimes).refresh() };
}

/** With `whole`, an unfinished line is left for later. */
function lastLines(folder: string, tables: Tables, count: number, whole: boolean): Lot {
  const { log, oldLog } = outputPaths(folder);
  const current = lastLinesOf(log, tables.current, count, whole);
  if (current === undefined) return { lines: [], position: tables.current.base };
  if (current.lines.length >= count) return current;
  const before = lastLinesOf(oldLog, tables.old, count - current.lines.length, false);
  return { lines: [...(before?.lines ?? []), ...current.lines], position: current.position };
}

function lastLinesOf(path: string, table: TimeTable, count: number, whole: boolean): Lot | undefined {
  return withFile(path, (fd) => {
    const size = fstatSync(fd).size;
    let buffer = Buffer.alloc(0);
    let start = size;
    let from = -1;
    for (let length = 16 * 1024; start > 0 && from < 0 && size - start < OUTPUT_LIMIT; length *= 2) {
      const end = start;
      start = Math.max(0, end - length);
      buffer = Buffer.concat([readAt(fd, start, end - start), buffer]);
      from = startOfLast(buffer, count);
    }
    const skipped = Math.max(0, from);
    const lot = split(buffer.subarray(skipped), table.base + start + skipped, timesOf(fd, table), whole);
    return { lines: count <= 0 ? [] : lot.lines.slice(-count), position: lot.position };
  });
}

/** Where the last lines begin, an unfinished one not counted; -1 when there are no more than that. */
function startOfLast(buffer: Buffer, count: number): number {
  let at = buffer.length;
  for (let newlines = 0; newlines <= count; newlines++) {
    if (at === 0) return -1;
    at = buffer.lastIndexOf(0x0a, at - 1);
    if (at < 0) return -1;
  }
  return at + 1;
}

/** Whole lines from a position on, from whichever file has it. */
function linesFrom(folder: string, tables: Tables, position: number): Lot {
  const { log, oldLog } = outputPaths(folder);
  const { base } = tables.current.refresh();
  if (position < base) {
    // It was moved while we stood in it. What is in neither file any more is passed over.
    const old = tables.old.refresh();
    const from = Math.max(position, old.base);
    const lot = withFile(oldLog, (fd) => split(readAt(fd, from - old.base, CHUNK), from, timesOf(fd, old), true));
    return lot !== undefined && lot.position > from ? lot : { lines: [], position: base };
  }
  const { current } = tables;
  const lot = withFile(log, (fd) => split(readAt(fd, position - base, CHUNK), position, timesOf(fd, current), true));
  return lot ?? { lines: [], position };
}

type TimeAt = (position: number) => number;

/** What comes after the last mark was written when the file was last written to. */
function timesOf(fd: number, table: TimeTable): TimeAt {
  const last = fstatSync(fd).mtimeMs;
  return (position) => table.timeAt(position) ?? last;
}

function split(buffer: Buffer, at: number, timeAt: TimeAt, whole: boolean): Lot {
  const lines: LogLine[] = [];
  let from = 0;
  while (from < buffer.length) {
    const newline = buffer.indexOf(0x0a, from);
    const end = newline < 0 ? buffer.length : newline;
    const cut = Math.min(end, from + LINE_LIMIT);
    if (newline < 0 && cut === end && whole) break;
    lines.push({ time: timeAt(at + from), text: decode(buffer.subarray(from, cut)) });
    from = cut === newline ? cut + 1 : cut;
  }
  return { lines, position: at + from };
}

function decode(bytes: Buffer): string {
  const end = bytes.at(-1) === 0x0d ? bytes.length - 1 : bytes.length;
  return new StringDecoder("utf8").end(bytes.subarray(0, end));
}

function readAt(fd: number, position: number, length: number): Buffer {
  const buffer = Buffer.allocUnsafe(length);
  return buffer.subarray(0, readSync(fd, buffer, 0, length, position));
}

function withFile<T>(path: string, use: (fd: number) => T): T | undefined {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch {
    return undefined;
  }
  try {
    return use(fd);
  } finally {
    closeSync(fd);
  }
}
