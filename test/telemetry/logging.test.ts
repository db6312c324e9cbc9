import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AppError } from "../../src/core/errors.ts";
import { createLogger, type Logger } from "../../src/telemetry/logging.ts";

function collect(options: { level?: string; pretty?: boolean } = {}): {
  readonly log: Logger;
  readonly lines: string[];
} {
  const lines: string[] = [];
  const destination = { write: (line: string) => lines.push(line) };
  return { log: createLogger({ level: "trace", destination, ...options }), lines };
}

/** The one line that was logged, parsed. */
function logged(write: (log: Logger) => void): Record<string, unknown> {
  const { log, lines } = collect();
  write(log);
  expect(lines).toHaveLength(1);
  return JSON.parse(lines[0]!) as Record<string, unknown>;
}

const TOKEN = `fct_${"Ab3-_".repeat(8)}`;
const UNSAFE = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/;

describe("the log", () => {
  test("is one JSON object a line, with level, time and message", () => {
    const line = logged((log) => log.warn({ app: "web", code: "PC01" }, "it broke"));
    expect(line).toMatchObject({ level: "warn", app: "web", code: "PC01", msg: "it broke" });
    expect(line["time"]).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  });

  test("keeps secrets out, by name, at any depth", () => {
    const secrets = {
      token: "s3cret",
      authorization: "s3cret",
      env: { A: "s3cret" },
      nested: { headers: { Authorization: "s3cret", Cookie: "s3cret" }, list: [{ password: "s3cret" }] },
      apiToken: "s3cret",
      privateKey: "s3cret",
      client_secret: "s3cret",
    };
    const text = JSON.stringify(logged((log) => log.info(secrets, "x")));
    expect(text).not.toContain("s3cret");
    expect(text).toContain("[redacted]");
  });

  test("keeps credentials out of texts, errors and their causes", () => {
    const cause = new Error(`sent Authorization: Bearer ${TOKEN}`);
    const error = new AppError("internal", `FlyV1 fm2_abc,def failed with ${TOKEN}`, {
      cause,
      details: { token: TOKEN },
    });
    const text = JSON.stringify(logged((log) => log.error({ err: error }, `using ${TOKEN}`)));
    expect(text).not.toContain("Ab3");
    expect(text).not.toContain("fm2_abc");
  });

  test("tells an error with its code, details and causes", () => {
    const error = new AppError("PM02", "no such program", { cause: new Error("ENOENT"), details: { machine: "m" } });
    const line = logged((log) => log.error({ err: error }, "failed"));
    expect(line["err"]).toMatchObject({
      type: "AppError",
      code: "PM02",
      message: "no such program",
      details: { machine: "m" },
      cause: { type: "Error", message: "ENOENT" },
    });
  });

  test.each([false, true])("is never more than one line and holds no control character (pretty: %s)", (pretty) => {
    const text = fc.string({ unit: "binary" });
    fc.assert(
      fc.property(text, text, fc.dictionary(text, text), (message, value, more) => {
        const { log, lines } = collect({ pretty });
        log.info({ value, more, err: new Error(value) }, message);
        expect(lines).toHaveLength(1);
        expect(lines[0]).toMatch(/^[^\n]*\n$/);
        expect(lines[0]).not.toMatch(UNSAFE);
        if (!pretty) expect((JSON.parse(lines[0]!) as { value: string }).value).toBe(value);
      }),
      { numRuns: 300 },
    );
  });

  test("shows what a terminal would obey", () => {
    const { log, lines } = collect({ pretty: true });
    log.warn({ path: "/\u001b]0;owned\u0007\u009b31m\r\n" }, "request");
    expect(lines[0]).toMatch(
      /^\d\d:\d\d:\d\d\.\d{3} WARN {2}request {2}path=\/\\u001b\]0;owned\\u0007\\u009b31m\\u000d\\u000a\n$/,
    );
  });

  test("cuts what is long, deep or turns in a circle", () => {
    const circle: Record<string, unknown> = { long: "x".repeat(100_000), list: Array.from({ length: 5000 }, () => 1) };
    circle["self"] = circle;
    const line = logged((log) => log.info(circle, "x"));
    expect(JSON.stringify(line).length).toBeLessThan(50_000);
    expect(logged((log) => log.info({ bytes: Buffer.alloc(9), set: new Set([1]), big: 1n }, "x"))).toMatchObject({
      bytes: "9 bytes",
      set: [1],
      big: "1",
    });
  });

  test("writes what its level asks for, and takes an unknown level as info", () => {
    for (const [level, expected] of [
      ["silent", 0],
      ["error", 1],
      ["warn", 2],
      ["nonsense", 3],
      ["toString", 3],
      ["debug", 4],
    ] as const) {
      const { log, lines } = collect({ level });
      log.error("x");
      log.warn("x");
      log.info("x");
      log.debug("x");
      expect(lines, level).toHaveLength(expected);
    }
  });
});
