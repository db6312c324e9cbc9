import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatBytes, parseBytes } from "../../src/config/bytes.ts";
import { bareDuration, formatDuration, parseDuration } from "../../src/config/duration.ts";
import { nearest } from "../../src/config/nearest.ts";
import { shellQuote, shellSplit } from "../../src/config/shell-split.ts";
import { bytes, ms } from "../../src/core/units.ts";

describe("a duration", () => {
  const good: readonly [string, number][] = [
    ["10s", 10_000],
    ["1m30s", 90_000],
    ["500ms", 500],
    ["1.5h", 5_400_000],
    ["0", 0],
    ["0s", 0],
    ["1h0m0s", 3_600_000],
    ["3m0s", 180_000],
    [".5s", 500],
    ["250us", 0.25],
    ["250µs", 0.25],
    ["1ns", 1e-6],
    ["+1s", 1000],
  ];
  test.each(good)("%s is %d ms", (text, expected) => {
    expect(parseDuration(text)).toEqual({ ok: true, value: expected });
  });

  const bad = [
    "",
    "10",
    "1.5",
    "s",
    "10 s",
    "10x",
    "-1s",
    "1s2",
    "1e3s",
    "٣s",
    "1m30",
    "9".repeat(400) + "s",
    "99999999999h",
    "600h",
  ];
  test.each(bad)("%j is refused", (text) => {
    expect(parseDuration(text).ok).toBe(false);
  });

  test("a bare number counts in the unit of its place, without its fraction", () => {
    expect(bareDuration(1.9, "seconds")).toEqual({ ok: true, value: 1000 });
    expect(bareDuration(2500, "milliseconds")).toEqual({ ok: true, value: 2500 });
    expect(bareDuration(1_000_000, "nanoseconds")).toEqual({ ok: true, value: 1 });
    for (const wrong of [-1, Number.NaN, Number.POSITIVE_INFINITY, 1e300]) {
      expect(bareDuration(wrong, "seconds").ok).toBe(false);
    }
  });

  test("what is printed reads back", () => {
    fc.assert(
      fc.property(fc.nat({ max: 10 ** 9 }), (value) => {
        expect(parseDuration(formatDuration(ms(value)))).toEqual({ ok: true, value });
      }),
    );
  });
});

describe("a size", () => {
  const cases: readonly [string, "decimal" | "binary", number][] = [
    ["64KiB", "binary", 65_536],
    ["64KB", "binary", 65_536],
    ["64KB", "decimal", 64_000],
    ["1.5gb", "decimal", 1_500_000_000],
    ["30 GB", "decimal", 30_000_000_000],
    ["2g", "binary", 2 * 1024 ** 3],
    ["512", "decimal", 512],
    ["512b", "binary", 512],
  ];
  test.each(cases)("%s (%s) is %d bytes", (text, base, expected) => {
    expect(parseBytes(text, { base })).toEqual({ ok: true, value: expected });
  });

  test("without any unit it counts in the unit of its place", () => {
    expect(parseBytes("10", { base: "decimal", unit: 1e9 })).toEqual({ ok: true, value: 1e10 });
  });

  test.each(["", "GB", "-1GB", "1.2.3GB", "1XB", "1 G B", "9".repeat(30), "9007199254740993KiB", "1ib"])(
    "%j is refused",
    (text) => {
      expect(parseBytes(text, { base: "decimal" }).ok).toBe(false);
    },
  );

  test("what is printed reads back", () => {
    fc.assert(
      fc.property(fc.nat(), (value) => {
        expect(parseBytes(formatBytes(bytes(value)), { base: "binary" })).toEqual({ ok: true, value });
      }),
    );
  });
});

describe("a command line", () => {
  const cases: readonly [string, readonly string[]][] = [
    ["node server.js", ["node", "server.js"]],
    ["  spaced\t out\n", ["spaced", "out"]],
    [`sh -c 'echo "$HOME" && ls'`, ["sh", "-c", 'echo "$HOME" && ls']],
    [`a"b c"d`, ["ab cd"]],
    [String.raw`a\ b "c\"d" "e\f"`, ["a b", 'c"d', String.raw`e\f`]],
    [`'' ""`, ["", ""]],
    [`run # a comment`, ["run"]],
    [`run a#b`, ["run", "a#b"]],
    ["a\\\nb", ["ab"]],
    ["", []],
    ["$PORT *.js ~ `x`", ["$PORT", "*.js", "~", "`x`"]],
  ];
  test.each(cases)("%j has the words %j", (line, words) => {
    expect(shellSplit(line)).toEqual({ ok: true, value: words });
  });

  test.each([`'open`, `"open`, `a "b`, "end\\", `"end\\`])("%j is refused", (line) => {
    expect(shellSplit(line).ok).toBe(false);
  });

  test("words that were quoted are the same words again", () => {
    fc.assert(
      fc.property(fc.array(fc.string()), (words) => {
        expect(shellSplit(words.map(shellQuote).join(" "))).toEqual({ ok: true, value: words });
      }),
    );
  });
});

describe("the nearest name", () => {
  const known = ["auto_stop_machines", "auto_start_machines", "internal_port", "ports", "app"];
  const cases: readonly [string, string | undefined][] = [
    ["auto_stop_machine", "auto_stop_machines"],
    ["autoStopMachines", "auto_stop_machines"],
    ["auto-stop-machines", "auto_stop_machines"],
    ["intrenal_port", "internal_port"],
    ["port", "ports"],
    ["aap", "app"],
    ["something_else", undefined],
    ["x".repeat(10_000), undefined],
    ["", undefined],
  ];
  test.each(cases)("of %j is %j", (name, expected) => {
    expect(nearest(name, known)).toBe(expected);
  });
});
