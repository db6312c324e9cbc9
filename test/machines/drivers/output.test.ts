import {
  appendFileSync,
  closeSync,
  openSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { linesSince, readLog, tailOf } from "../../../src/machines/drivers/log-reader.ts";
import { openOutput, OUTPUT_LIMIT, OutputKeeper, outputPaths } from "../../../src/machines/drivers/output-files.ts";
import { temporaryFolder, until } from "./machine-fixture.ts";

const shared = temporaryFolder();
afterAll(() => shared.remove());
let number = 0;

function output(): { folder: string; write(text: string): void; close(): void; keeper: OutputKeeper } {
  const folder = join(shared.path, `m${++number}`);
  const fd = openOutput(folder);
  const keeper = new OutputKeeper(folder);
  return { folder, keeper, write: (text) => writeSync(fd, text), close: () => (keeper.close(), closeSync(fd)) };
}

async function collect(folder: string, count: number, options: { lines?: number; onFirst?: () => void } = {}) {
  const abort = new AbortController();
  const lines: string[] = [];
  const texts = readLog(folder, { follow: true, lines: options.lines ?? 10, signal: abort.signal });
  options.onFirst?.();
  for await (const line of texts) {
    lines.push(line.slice(line.indexOf(" ") + 1));
    if (lines.length >= count) abort.abort();
  }
  return lines;
}

test("the last lines are found from the end, the unfinished one included", () => {
  const out = output();
  out.write("one\ntwo\r\n\nfour\nunfinished");
  expect(tailOf(out.folder, 3).map((l) => l.text)).toEqual(["", "four", "unfinished"]);
  expect(tailOf(out.folder, 100).map((l) => l.text)).toEqual(["one", "two", "", "four", "unfinished"]);
  expect(tailOf(out.folder, 0)).toEqual([]);
  out.close();
});

test("a Machine that has never run has no lines", async () => {
  expect(tailOf(join(shared.path, "never"), 5)).toEqual([]);
  const lines: string[] = [];
  for await (const line of readLog(join(shared.path, "never"), {})) lines.push(line);
  expect(lines).toEqual([]);
});

test("lines carry the time at which they were written", async () => {
  const out = output();
  const before = Date.now();
  out.write("early\n");
  await until("it is noticed", () => readFileSync(outputPaths(out.folder).times, "latin1").split("\n").length > 2);
  const between = Date.now();
  await until("a later moment", () => Date.now() > between + 5);
  out.write("late\n");
  out.close();
  const [early, late] = tailOf(out.folder, 2);
  expect(early?.time).toBeGreaterThanOrEqual(before);
  expect(early?.time).toBeLessThanOrEqual(between);
  expect(late?.time).toBeGreaterThan(between);
  for await (const line of readLog(out.folder, { lines: 1 }))
    expect(line).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z late$/);
});

test("following gives what comes, in whole lines, until it is aborted", async () => {
  const out = output();
  out.write("before\n");
  const following = collect(out.folder, 3);
  out.write("hal");
  out.write("ves\nlast\n");
  expect(await following).toEqual(["before", "halves", "last"]);
  out.close();
});

test("following begins before the Machine has ever run", async () => {
  const folder = join(shared.path, "later");
  const following = collect(folder, 1);
  const fd = openOutput(folder);
  writeSync(fd, "born\n");
  expect(await following).toEqual(["born"]);
  closeSync(fd);
});

test("a reader that loses interest while nothing comes ends at once", async () => {
  const out = output();
  const lines = readLog(out.folder, { follow: true })[Symbol.asyncIterator]();
  const waiting = lines.next();
  await lines.return?.();
  expect(await waiting).toEqual({ done: true, value: undefined });
  out.close();
});

test("output is bounded on disk, and a follower misses nothing at the change of files", async () => {
  const out = output();
  const line = `${"x".repeat(1000)}\n`;
  const total = Math.ceil((OUTPUT_LIMIT * 1.5) / line.length);
  const seen: string[] = [];
  const abort = new AbortController();
  const following = (async () => {
    for await (const text of readLog(out.folder, { follow: true, lines: 0, signal: abort.signal })) {
      seen.push(text.slice(25, 33));
      if (text.endsWith("end")) abort.abort();
    }
  })();
  for (let i = 0; i < total; i++) {
    out.write(`${String(i).padStart(8, "0")} ${line}`);
    if (i % 500 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await until("the files changed", () => statSync(outputPaths(out.folder).log).size < OUTPUT_LIMIT / 2 || undefined);
  out.write("end\n");
  await following;
  expect(seen.slice(0, -1)).toEqual(Array.from({ length: total }, (_, i) => String(i).padStart(8, "0")));
  const { log, oldLog } = outputPaths(out.folder);
  expect(statSync(log).size).toBeLessThanOrEqual(OUTPUT_LIMIT);
  expect(statSync(oldLog).size).toBeLessThanOrEqual(3 * OUTPUT_LIMIT);
  // Over the border of the two files:
  expect(tailOf(out.folder, 6).at(-1)?.text).toBe("end");
  expect(tailOf(out.folder, total + 10).length).toBeGreaterThan(1000);
  out.close();
});

test("a Machine that truncates its own output goes on being read", async () => {
  const out = output();
  out.write("first\n");
  const path = outputPaths(out.folder);
  await until("it is noticed", () => readFileSync(path.times, "latin1").includes("6 "));
  const following = collect(out.folder, 2, { lines: 1 });
  truncateSync(path.log);
  appendFileSync(path.log, "2\n");
  expect(await following).toEqual(["first", "2"]);
  out.close();
});

test("who comes again with a position gets what came since, whole lines alone, over a change of files too", async () => {
  const out = output();
  const texts = (lot: { lines: readonly { text: string }[] }): string[] => lot.lines.map(({ text }) => text);
  out.write("one\ntwo\nthree\nunfin");
  const first = linesSince(out.folder, undefined, 2);
  expect(texts(first)).toEqual(["two", "three"]);
  expect(linesSince(out.folder, first.position, 2)).toMatchObject({ lines: [], position: first.position });
  out.write("ished\n");
  let lot = linesSince(out.folder, first.position, 2);
  expect(texts(lot)).toEqual(["unfinished"]);

  const total = Math.ceil((OUTPUT_LIMIT * 1.5) / 1010);
  const seen: string[] = [];
  const poll = (): void => {
    do {
      lot = linesSince(out.folder, lot.position, 2);
      seen.push(...texts(lot).map((text) => text.slice(0, 8)));
    } while (lot.lines.length > 0);
  };
  for (let i = 0; i < total; i++) {
    out.write(`${String(i).padStart(8, "0")} ${"x".repeat(1000)}\n`);
    if (i % 500 === 0) await new Promise((resolve) => setImmediate(resolve));
    if (i % 700 === 0) poll();
  }
  await until("the files changed", () => statSync(outputPaths(out.folder).log).size < OUTPUT_LIMIT / 2 || undefined);
  poll();
  expect(seen).toEqual(Array.from({ length: total }, (_, i) => String(i).padStart(8, "0")));
  // A position of nobody's is no harm.
  for (const strange of [0, 2 ** 40, Number.MAX_SAFE_INTEGER])
    expect(linesSince(out.folder, strange, 2).lines.length).toBeLessThan(1000);
  expect(linesSince(join(shared.path, "never"), 17, 2)).toEqual({ lines: [], position: 17 });
  out.close();
});

test("endless lines come in pieces, and bytes that are no text do no harm", () => {
  const out = output();
  out.write("y".repeat(40_000));
  out.write("\n");
  out.close();
  appendFileSync(outputPaths(out.folder).log, Buffer.from([0xff, 0x00, 0xfe, 0x0a]));
  const lines = tailOf(out.folder, 10).map((l) => l.text);
  expect(lines.slice(0, -1).join("")).toBe("y".repeat(40_000));
  expect(lines.at(-1)).toContain("\uFFFD");
});

test("a damaged table of times costs only the times", () => {
  const out = output();
  out.write("line\n");
  out.close();
  writeFileSync(outputPaths(out.folder).times, "\u0000garbage\nx y z\n-5 7\n");
  expect(tailOf(out.folder, 1)).toMatchObject([{ text: "line", time: expect.any(Number) }]);
});

test("output goes on after a restart where it ended", () => {
  const out = output();
  out.write("first life\n");
  out.close();
  const fd = openSync(outputPaths(out.folder).log, "a");
  writeSync(fd, "while nobody looked\n");
  const keeper = new OutputKeeper(out.folder);
  writeSync(fd, "second life\n");
  keeper.close();
  closeSync(fd);
  expect(tailOf(out.folder, 5).map((l) => l.text)).toEqual(["first life", "while nobody looked", "second life"]);
});
