/** Reads what `output-files.ts` keeps: the last lines of a Machine's output, and new ones as they come. */
import { closeSync, existsSync, fstatSync, mkdirSync, openSync, readSync, watch } from "node:fs";
import { StringDecoder } from "node:string_decoder";
import { OUTPUT_LIMIT, outputPaths, readTimes, type TimeTable } from "./output-files.ts";

export interface LogOptions {
  /** How many of the lines that are there. @default 100 */
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
const CHUNK = 256 * 1024;

interface Lot {
  readonly lines: readonly LogLine[];
  /** Where the next look begins. */
  readonly position: number;
}

export function existingLogs(folder: string): readonly string[] {
  const { oldLog, log } = outputPaths(folder);
  return [oldLog, log].filter((path) => existsSync(path));
}

/** The last `count` lines, oldest first, the unfinished one at the end included. Reads backwards, at most both files. */
export function tailOf(folder: string, count: number): readonly LogLine[] {
  return lastLines(folder, count).lines;
}

/** Yields `time text`. Ends after the lines that are there, or, when it follows, after the abort. Never throws for an abort. */
export async function* readLog(folder: string, options: LogOptions): AsyncGenerator<string, void, undefined> {
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
  const watcher = watch(folder, { persistent: false }, stir);
  watcher.on("error", stir);
  signal?.addEventListener("abort", stir);
  try {
    const first = lastLines(folder, options.lines ?? 100, true);
    yield first.lines;
    let { position } = first;
    while (signal?.aborted !== true) {
      if (!changed) await new Promise<void>((resolve) => (wake = resolve));
      changed = false;
      for (;;) {
        const lot = linesFrom(folder, position);
        if (lot.position === position) break;
        ({ position } = lot);
        yield lot.lines;
      }
    }
  } finally {
    watcher.close();
    signal?.removeEventListener("abort", stir);
  }
}

/** With `whole`, an unfinished line is left for later. */
function lastLines(folder: string, count: number, whole = false): Lot {
  const { log, times, oldLog, oldTimes } = outputPaths(folder);
  const current = lastLinesOf(log, times, count, whole);
  if (current === undefined) return { lines: [], position: readTimes(times).base };
  if (current.lines.length >= count) return current;
  const before = lastLinesOf(oldLog, oldTimes, count - current.lines.length, false);
  return { lines: [...(before?.lines ?? []), ...current.lines], position: current.position };
}

function lastLinesOf(path: string, times: string, count: number, whole: boolean): Lot | undefined {
  return withFile(path, (fd) => {
    const size = fstatSync(fd).size;
    const { base } = readTimes(times);
    let buffer = Buffer.alloc(0);
    let start = size;
    // One newline more than lines: the one before the first.
    for (let newlines = 0; start > 0 && newlines <= count && size - start < OUTPUT_LIMIT;) {
      const length = Math.min(CHUNK, start);
      start -= length;
      const chunk = readAt(fd, start, length);
      for (const byte of chunk) if (byte === 0x0a) newlines++;
      buffer = Buffer.concat([chunk, buffer]);
    }
    const lot = split(buffer, base + start, table(fd, times), whole);
    return { lines: count <= 0 ? [] : lot.lines.slice(-count), position: lot.position };
  });
}

/** Whole lines from a position on, from whichever file has it. */
function linesFrom(folder: string, position: number): Lot {
  const { log, times, oldLog, oldTimes } = outputPaths(folder);
  const { base } = readTimes(times);
  if (position < base) {
    // It was moved while we stood in it. What is in neither file any more is passed over.
    const old = readTimes(oldTimes);
    const from = Math.max(position, old.base);
    const lot = withFile(oldLog, (fd) => split(readAt(fd, from - old.base, CHUNK), from, table(fd, oldTimes), true));
    return lot !== undefined && lot.position > from ? lot : { lines: [], position: base };
  }
  const lot = withFile(log, (fd) =>
    // The file first, then its table, so that what we read has its marks.
    split(readAt(fd, position - base, CHUNK), position, table(fd, times), true),
  );
  return lot ?? { lines: [], position };
}

interface Table extends TimeTable {
  /** When the file was last written to: the time of what came after the last mark. */
  readonly last: number;
}

function table(fd: number, times: string): Table {
  return { ...readTimes(times), last: fstatSync(fd).mtimeMs };
}

function split(buffer: Buffer, at: number, { marks, last }: Table, whole: boolean): Lot {
  const lines: LogLine[] = [];
  let from = 0;
  let mark = 0;
  while (from < buffer.length) {
    const newline = buffer.indexOf(0x0a, from);
    const end = newline < 0 ? buffer.length : newline;
    const cut = Math.min(end, from + LINE_LIMIT);
    if (newline < 0 && cut === end && whole) break;
    while (mark < marks.length && (marks[mark]?.position ?? 0) <= at + from) mark++;
    const time = marks[mark]?.time ?? last;
    lines.push({ time, text: decode(buffer.subarray(from, cut)) });
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
