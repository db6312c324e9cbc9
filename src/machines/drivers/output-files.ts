/**
 * A Machine's output on disk: `output.log` and its predecessor `output.1.log`, each with a table of times beside it.
 *
 * The Machine writes to the file itself, so nobody of ours can hold it up or lose its output by dying. What that costs:
 * the file cannot be swapped under it. It was opened with O_APPEND; when it has grown past the limit its end is copied
 * to the predecessor and it is truncated, and the next write lands at its new end. Bytes that are written between the
 * last look and the truncation are lost; that is microseconds, and only once in 8 MiB. Of a flood (more than that every
 * few seconds) only the end is carried over.
 *
 * Positions are counted over the whole life of the file, truncations included, so that a reader who stood in the old
 * file finds its place in the new one: the table begins with the position of the file's first byte. Its other lines,
 * `position time`, say that everything before the position had been written by then. They are made when the kernel
 * tells of a write, at most ten times a second.
 */
import { appendFileSync, closeSync, ftruncateSync, openSync, fstatSync, fchmodSync, mkdirSync } from "node:fs";
import { readSync, realpathSync, renameSync, truncate, writeFileSync, writeSync, watch, type FSWatcher } from "node:fs";
import { join } from "node:path";
import { attempt } from "./attempt.ts";
import { TimeTable } from "./time-table.ts";

/** Of each of the two files. */
export const OUTPUT_LIMIT = 8 * 1024 * 1024;
const TIMES_LIMIT = 2 * 1024 * 1024;
const LOOK_AGAIN_MS = 100;
/** A whole file is carried over at most this often; in between only so much of its end. */
const RARE_MS = 5000;
const KEPT_OF_FLOOD = 1024 * 1024;
const LARGE = 2 * OUTPUT_LIMIT;

export function outputPaths(folder: string): { log: string; times: string; oldLog: string; oldTimes: string } {
  return {
    log: join(folder, "output.log"),
    times: join(folder, "output.times"),
    oldLog: join(folder, "output.1.log"),
    oldTimes: join(folder, "output.1.times"),
  };
}

/** Path of the output file as the kernel tells it of a process that writes to it. */
export function realOutputPath(folder: string): string {
  const { log } = outputPaths(folder);
  try {
    return realpathSync(log);
  } catch {
    return log; // not there: nobody writes to it
  }
}

/** Opens the file for a Machine's standard output and error. The caller closes it. */
export function openOutput(folder: string): number {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const fd = openSync(outputPaths(folder).log, "a", 0o622);
  // Programs open /dev/stdout again (nginx does), as their own user. The folder keeps everybody else away from it.
  fchmodSync(fd, 0o622);
  return fd;
}

/** Bounds a growing output file and notes when it grew. Costs nothing while the Machine is silent. */
export class OutputKeeper {
  readonly #folder: string;
  readonly #paths: ReturnType<typeof outputPaths>;
  #base: number;
  #size = 0;
  #timesSize: number;
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;
  #rotatedAt = -Infinity;
  #truncating = false;

  constructor(folder: string) {
    this.#folder = folder;
    this.#paths = outputPaths(folder);
    const table = new TimeTable(this.#paths.times).refresh();
    this.#base = table.base;
    this.#timesSize = table.size;
    // Up to where somebody has looked before: what came since gets its mark now.
    this.#size = Math.max(0, (table.lastPosition ?? this.#base) - this.#base);
    if (this.#timesSize === 0) this.#begin(this.#base);
    this.#arm();
  }

  /** Notes what was written since the last look, and stops watching. */
  close(): void {
    this.#disarm();
    this.#look();
  }

  #arm(): void {
    this.#disarm();
    try {
      // One event is enough until the next look, however chatty the Machine is.
      this.#watcher = watch(this.#paths.log, { persistent: false }, () => this.#lookSoon());
      this.#watcher.on("error", () => this.#lookSoon());
    } catch {
      this.#later(); // out of inotify watches: look ten times a second
    }
    // What was written before the watch stood.
    if (this.#look()) this.#later();
  }

  #lookSoon(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
    this.#look();
    this.#later();
  }

  #later(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#arm();
    }, LOOK_AGAIN_MS);
  }

  #disarm(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** True when it had grown. A full disk or a removed folder is no reason to stop: the Machine matters more than its log. */
  #look(): boolean {
    if (this.#truncating) return true;
    return attempt(() => this.#withFile("r+", (fd) => this.#lookAt(fd))) ?? false;
  }

  #lookAt(fd: number): boolean {
    const size = fstatSync(fd).size;
    if (size === this.#size) return false;
    if (size < this.#size) {
      // The Machine truncated its own output: `echo x > /dev/stderr` in a shell does.
      this.#begin(this.#base + this.#size);
    }
    this.#size = size;
    const mark = `${this.#base + size} ${Date.now()}\n`;
    appendFileSync(this.#paths.times, mark);
    this.#timesSize += mark.length;
    if (size > OUTPUT_LIMIT || this.#timesSize > TIMES_LIMIT) this.#rotate(fd);
    return true;
  }

  #rotate(fd: number): void {
    let end = this.#base + fstatSync(fd).size;
    try {
      end = this.#carryOver(fd);
    } catch {
      // No room for a copy: all the more reason to make some.
    }
    if (fstatSync(fd).size <= LARGE) {
      ftruncateSync(fd, 0);
      this.#begin(end);
      this.#size = 0;
      return;
    }
    // Giving back that much takes the file system tens of milliseconds, in which no Machine would start.
    this.#truncating = true;
    truncate(this.#paths.log, () => {
      this.#truncating = false;
      this.#size = 0;
      attempt(() => this.#begin(end));
    });
  }

  /** Copies the end of the file to the predecessor; returns the position up to which. */
  #carryOver(fd: number): number {
    const { oldLog, oldTimes, times } = this.#paths;
    // A Machine that writes a gigabyte a second must neither fill the disk nor keep us from starting others.
    const now = performance.now();
    const keep = now - this.#rotatedAt < RARE_MS ? KEPT_OF_FLOOD : OUTPUT_LIMIT;
    this.#rotatedAt = now;
    let from = Math.max(0, fstatSync(fd).size - keep);
    const first = this.#base + from;
    const chunk = Buffer.allocUnsafe(256 * 1024);
    const until = from + 2 * keep; // it may write faster than we copy
    const copy = openSync(`${oldLog}.new`, "w", 0o600);
    try {
      for (let n = readSync(fd, chunk, 0, chunk.length, from); n > 0 && from < until;) {
        writeSync(copy, chunk, 0, n);
        from += n;
        n = readSync(fd, chunk, 0, chunk.length, from);
      }
    } finally {
      closeSync(copy);
    }
    const kept = new TimeTable(times).refresh().linesAfter(first);
    writeFileSync(`${oldTimes}.new`, `${first}\n${kept}`, { mode: 0o600 });
    renameSync(`${oldLog}.new`, oldLog);
    renameSync(`${oldTimes}.new`, oldTimes);
    return this.#base + from;
  }

  #begin(base: number): void {
    const text = `${base}\n`;
    writeFileSync(`${this.#paths.times}.new`, text, { mode: 0o600 });
    renameSync(`${this.#paths.times}.new`, this.#paths.times);
    this.#base = base;
    this.#timesSize = text.length;
  }

  #withFile<T>(flags: string, use: (fd: number) => T): T | undefined {
    let fd: number;
    try {
      fd = openSync(join(this.#folder, "output.log"), flags);
    } catch {
      return undefined;
    }
    try {
      return use(fd);
    } finally {
      closeSync(fd);
    }
  }
}
