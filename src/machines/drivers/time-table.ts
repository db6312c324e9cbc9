import { closeSync, fstatSync, openSync, readSync } from "node:fs";

/** A table of times, read as it grows: a look costs what is new. */
export class TimeTable {
  readonly #path: string;
  /** Of the table's file: another one means that it was begun anew. */
  #inode = 0;
  #read = 0;
  #rest = "";
  #base: number | undefined;
  readonly #marks: { readonly position: number; readonly time: number }[] = [];

  constructor(path: string) {
    this.#path = path;
  }

  /** Position of the output file's first byte. As of the last `refresh`. */
  get base(): number {
    return this.#base ?? 0;
  }

  get lastPosition(): number | undefined {
    return this.#marks.at(-1)?.position;
  }

  /** Bytes. */
  get size(): number {
    return this.#read;
  }

  /** When the byte at a position had been written, milliseconds since the epoch; undefined after the last mark. */
  timeAt(position: number): number | undefined {
    let low = 0;
    let high = this.#marks.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#marks[middle]?.position ?? 0) <= position) low = middle + 1;
      else high = middle;
    }
    return this.#marks[low]?.time;
  }

  /** Lines of the table for marks after a position. */
  linesAfter(position: number): string {
    const after = this.#marks.filter((mark) => mark.position > position);
    return after.map((mark) => `${mark.position} ${mark.time}\n`).join("");
  }

  refresh(): this {
    try {
      const fd = openSync(this.#path, "r");
      try {
        this.#take(fd);
      } finally {
        closeSync(fd);
      }
    } catch {
      // No table: all that is known is the output file.
    }
    return this;
  }

  #take(fd: number): void {
    const { ino, size } = fstatSync(fd);
    if (ino !== this.#inode || size < this.#read) {
      this.#inode = ino;
      this.#read = 0;
      this.#rest = "";
      this.#base = undefined;
      this.#marks.length = 0;
    }
    const fresh = Buffer.allocUnsafe(size - this.#read);
    const length = readSync(fd, fresh, 0, fresh.length, this.#read);
    this.#read += length;
    const lines = (this.#rest + fresh.toString("latin1", 0, length)).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) {
      if (this.#base === undefined) {
        this.#base = Math.max(0, Number(line) || 0);
        continue;
      }
      const [position, time] = line.split(" ").map(Number);
      if (position !== undefined && time !== undefined && position >= 0 && time > 0)
        this.#marks.push({ position, time });
    }
  }
}
