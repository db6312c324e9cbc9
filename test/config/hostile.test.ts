import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { stringify } from "smol-toml";
import { describe, expect, test } from "vitest";
import { parseFlyToml } from "../../src/config/parse-fly-toml.ts";
import { decodeToml, MAX_FILE_BYTES } from "../../src/config/toml-document.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const CORPUS = resolve(ROOT, process.env["FLYCAST_CORPUS"] ?? "../shared/corpus/fly-toml");
const FIXTURES = fileURLToPath(new URL("../fixtures/config/", import.meta.url));

/** What must hold of any text at all. */
function expectSound(text: string): void {
  const { config, problems } = parseFlyToml(text, "fly.toml");
  const refused = problems.some((problem) => problem.grade === "error");
  expect(config === undefined).toBe(refused);
  expect(problems.length).toBeLessThan(700);
  for (const problem of problems) {
    expect(problem.message).not.toBe("");
    expect(problem.rule).toMatch(/^[a-z][a-z0-9-]+$/);
  }
}

function rules(text: string): readonly string[] {
  return parseFlyToml(text, "fly.toml").problems.map((problem) => problem.rule);
}

describe("a hostile file", () => {
  test("of ten megabytes is refused without being parsed", () => {
    const data = Buffer.alloc(10 * 1024 * 1024, "a = 1\n");
    const decoded = decodeToml(data);
    expect(decoded).toMatchObject({ ok: false, error: { rule: "too-large" } });
    expect(rules(data.toString())).toEqual(["too-large"]);
  });

  test("that is not UTF-8 is refused", () => {
    expect(decodeToml(Uint8Array.of(0x61, 0xff, 0xfe))).toMatchObject({ ok: false, error: { rule: "not-text" } });
  });

  test("with a byte order mark and CRLF is read like any other, columns included", () => {
    const text = 'app = "windows"\r\n\r\n[http_service]\r\ninternal_port = 80800\r\n';
    const plain = parseFlyToml(text, "fly.toml").problems;
    expect(parseFlyToml(`\u{FEFF}${text}`, "fly.toml").problems).toEqual(plain);
    expect(plain).toMatchObject([{ rule: "bad-port", line: 4, column: 17 }]);
  });

  test("with NUL characters is refused, raw and escaped", () => {
    expect(rules('app = "a\0b"')).toEqual(["syntax"]);
    expect(rules('app = "a"\n[processes]\napp = "run \\u0000"')).toEqual(["bad-value"]);
  });

  test("with the same key twice is refused with its line", () => {
    const { problems } = parseFlyToml('app = "a"\napp = "b"\n', "fly.toml");
    expect(problems).toMatchObject([{ grade: "error", rule: "syntax", line: 2 }]);
  });

  test("with one key in two spellings is refused", () => {
    expect(rules('app = "a"\nApp = "b"\n')).toContain("same-key-twice");
  });

  test.each([
    ["lists", `x = ${"[".repeat(20_000)}${"]".repeat(20_000)}`],
    ["inline tables", `x = ${"{a=".repeat(20_000)}1${"}".repeat(20_000)}`],
    ["dotted keys", `${"a.".repeat(20_000)}a = 1`],
    ["headers", `[${"a.".repeat(20_000)}a]\nb = 1`],
    ["lists that parse", `x = ${"[".repeat(900)}${"]".repeat(900)}`],
    ["lists in a known place", `services = ${"[".repeat(900)}${"]".repeat(900)}`],
    ["dotted keys in a known place", `env.${"a.".repeat(5_000)}a = 1`],
  ])("nested deeply in %s gives problems, not a crash", expectSound_);

  test("cannot reach a prototype", () => {
    for (const name of ["__proto__", "constructor", "prototype", "toString", "hasOwnProperty"]) {
      const text = `app = "a"\n${name} = { polluted = 1 }\n[env]\n${name} = "x"\n[checks.${name}]\ntype = "tcp"\nport = 1\n[http_service]\n[http_service.http_options.response.headers]\n${name} = "y"\n`;
      const { config } = parseFlyToml(text, "fly.toml");
      expect(Object.entries(config?.env ?? {})).toEqual([[name, "x"]]);
      expect(config?.services[0]?.ports[0]?.httpOptions.responseHeaders).toEqual([{ name, value: ["y"] }]);
    }
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
  });

  test("with twenty thousand problems lists the first and counts the others", () => {
    const text = Array.from({ length: 20_000 }, (_, i) => `unknown${i} = 1`).join("\n");
    const { problems } = parseFlyToml(text, "fly.toml");
    expect(problems.length).toBeLessThan(250);
    expect(problems.at(-1)?.rule).toBe("too-many-problems");
  });

  test("with three thousand services that all claim one port stays bounded", () => {
    const text = "[[services]]\ninternal_port = 1\nports = [{ port = 80 }]\n".repeat(3_000);
    expect(text.length).toBeLessThan(MAX_FILE_BYTES);
    expectSound(text);
  });

  test("of random text is a list of problems", () => {
    fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 200 }), (text) => expectSound(text)));
  });

  test("whose known keys hold random values is a list of problems", () => {
    const scalar = fc.oneof(
      fc.string(),
      fc.double(),
      fc.boolean(),
      fc.integer(),
      fc.constantFrom("10s", "stop", "tcp", 80),
    );
    const name = fc.constantFrom(...NAMES);
    const value = fc.letrec((tie) => ({
      value: fc.oneof(
        { maxDepth: 4 },
        scalar,
        fc.array(tie("value"), { maxLength: 3 }),
        fc.dictionary(name, tie("value"), { maxKeys: 5 }),
      ),
    })).value;
    fc.assert(
      fc.property(fc.dictionary(name, value, { maxKeys: 8 }), (table) => {
        let text: string;
        try {
          text = stringify(table);
        } catch {
          return; // lists of mixed kinds that the writer does not write
        }
        expectSound(text);
      }),
      { numRuns: 500 },
    );
  });

  const samples = existsSync(CORPUS)
    ? readdirSync(CORPUS).map((name) => join(CORPUS, name))
    : readdirSync(FIXTURES).flatMap((name) => (name.endsWith(".toml") ? [join(FIXTURES, name)] : []));

  test("made from a good one by changing bytes is a list of problems", () => {
    const texts = samples.map((path) => readFileSync(path));
    fc.assert(
      fc.property(
        fc.constantFrom(...texts),
        fc.array(
          fc.record({
            at: fc.nat(),
            byte: fc.nat({ max: 255 }),
            kind: fc.constantFrom("set", "drop", "insert", "double"),
          }),
          {
            minLength: 1,
            maxLength: 4,
          },
        ),
        (original, changes) => {
          let data = Buffer.from(original);
          for (const { at, byte, kind } of changes) {
            const i = data.length === 0 ? 0 : at % data.length;
            const middle = {
              set: [byte],
              drop: [],
              insert: [byte, data[i] ?? 0],
              double: [...data.subarray(i, i + 40)],
            }[kind];
            const rest = kind === "double" ? data.subarray(i) : data.subarray(i + 1);
            data = Buffer.concat([data.subarray(0, i), Buffer.from(middle), rest]);
          }
          const decoded = decodeToml(data);
          if (decoded.ok) expectSound(decoded.value);
        },
      ),
      { numRuns: 1500 },
    );
  });
});

function expectSound_(...texts: readonly string[]): void {
  expectSound(texts.at(-1) ?? "");
}

const NAMES = [
  "app", "primary_region", "env", "processes", "http_service", "services", "checks", "mounts", "vm", "restart", "files",
  "deploy", "experimental", "internal_port", "ports", "port", "start_port", "end_port", "handlers", "concurrency",
  "soft_limit", "hard_limit", "type", "http_checks", "tcp_checks", "interval", "timeout", "headers", "name", "value",
  "tls_options", "http_options", "response", "replay_cache", "kill_timeout", "kill_signal", "protocol", "destination",
  "source", "policy", "guest_path", "strategy", "release_command", "cmd", "exec", "__proto__", "unknown",
] as const; // prettier-ignore
