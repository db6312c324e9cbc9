import { crc32 } from "node:zlib";

/**
 * Lines that can be trusted: `CRC JSON\n`, where CRC is the CRC-32 (as in zip) of the JSON's UTF-8 bytes in eight hex
 * digits. JSON holds no line feed of its own, so a line's end is where the next one begins, whatever happened to it.
 */
export function frame(json: string): string {
  return `${crc32(json).toString(16).padStart(8, "0")} ${json}\n`;
}

/** What a file of frames holds, up to the first one that cannot be trusted. */
export interface Frames {
  readonly good: readonly { readonly json: string; readonly start: number; readonly end: number }[];
  /** Where the first bad frame begins: the length of the file when all are good. */
  readonly goodBytes: number;
  /** `unfinished`: the last line was cut off, as a crash does to a record that nobody was told of. */
  readonly damage: "none" | "unfinished" | "damaged";
}

const LINE_FEED = 0x0a;

export function readFrames(file: Buffer): Frames {
  const good: { json: string; start: number; end: number }[] = [];
  let start = 0;
  while (start < file.length) {
    const lineFeed = file.indexOf(LINE_FEED, start);
    if (lineFeed < 0) return { good, goodBytes: start, damage: "unfinished" };
    const json = readFrame(file.subarray(start, lineFeed));
    if (json === undefined) return { good, goodBytes: start, damage: "damaged" };
    good.push({ json, start, end: lineFeed + 1 });
    start = lineFeed + 1;
  }
  return { good, goodBytes: start, damage: "none" };
}

function readFrame(line: Buffer): string | undefined {
  const checksum = line.subarray(0, 8).toString("latin1");
  if (line.length < 10 || line[8] !== 0x20 || !/^[0-9a-f]{8}$/.test(checksum)) return undefined;
  const json = line.subarray(9);
  return crc32(json) === Number.parseInt(checksum, 16) ? json.toString("utf8") : undefined;
}
