import { describe, expect, test } from "vitest";
import { formatProblems } from "../../src/config/format-problem.ts";
import { parseFlyToml } from "../../src/config/parse-fly-toml.ts";
import { validatePaths } from "../../src/config/validate-command.ts";
import { workspaceFolder } from "./workspace-folder.ts";

const GOOD = 'app = "good"\n[http_service]\ninternal_port = 8080\n';

describe("config validate", () => {
  test("accepts a fly.toml that names no command, because on the platform the image does", async () => {
    const cwd = workspaceFolder({ "fly.toml": GOOD });
    expect(await validatePaths([], { cwd })).toMatchObject({ report: "fly.toml: valid\n", exitCode: 0 });
  });

  test("without a path names the file that it found, a flycast.toml before a fly.toml, or the folder", async () => {
    const both = workspaceFolder({ "fly.toml": GOOD, "flycast.toml": "" });
    expect((await validatePaths([], { cwd: both })).paths).toMatchObject([{ path: "flycast.toml" }]);
    const neither = workspaceFolder({ "other.toml": GOOD });
    expect((await validatePaths([], { cwd: neither })).paths).toMatchObject([{ path: ".", valid: false }]);
  });

  test("takes many files at once and says of each whether it is valid", async () => {
    const cwd = workspaceFolder({ "a/fly.toml": GOOD, "staging.toml": `${GOOD}force_https = true\n` });
    const { report, paths, exitCode } = await validatePaths(["a", "staging.toml", "nowhere"], { cwd });
    expect(exitCode).toBe(1);
    expect(paths.map(({ path, valid }) => ({ path, valid }))).toEqual([
      { path: "a", valid: true },
      { path: "staging.toml", valid: false },
      { path: "nowhere", valid: false },
    ]);
    expect(report).toContain("2 errors\n\na: valid\nstaging.toml: refused\nnowhere: refused\n");
  });

  test("checks a flycast.toml with all its apps, as up would", async () => {
    const cwd = workspaceFolder({ "flycast.toml": "[apps.good]\n", "good/fly.toml": GOOD });
    for (const path of [".", "flycast.toml"]) {
      const { problems, exitCode } = await validatePaths([path], { cwd });
      expect(exitCode).toBe(1);
      expect(problems.map(({ rule }) => rule)).toEqual(["missing-command"]);
    }
  });

  test("says once what it meets twice", async () => {
    const cwd = workspaceFolder({ "fly.toml": `${GOOD}force_https = true\n` });
    const { problems, paths } = await validatePaths(["fly.toml", "."], { cwd });
    expect(problems).toHaveLength(1);
    expect(paths).toMatchObject([{ valid: false }, { valid: false }]);
  });

  test("refuses warnings too when it is strict, but never notes", async () => {
    const cwd = workspaceFolder({ "warning.toml": `${GOOD}typo = 1\n`, "note.toml": `swap_size_mb = 1\n${GOOD}` });
    const exit = async (path: string, strict: boolean) => (await validatePaths([path], { cwd, strict })).exitCode;
    expect(await exit("warning.toml", false)).toBe(0);
    expect(await exit("warning.toml", true)).toBe(1);
    expect(await exit("note.toml", true)).toBe(0);
  });

  test("allows what it is told to allow", async () => {
    const cwd = workspaceFolder({ "fly.toml": `${GOOD}force_https = true\n` });
    const { problems, exitCode } = await validatePaths([], { cwd, allow: new Set(["force_https"]) });
    expect(exitCode).toBe(0);
    expect(problems).toMatchObject([{ grade: "warning", rule: "force-https" }]);
  });
});

describe("a problem is shown", () => {
  test("with its line, what is wrong and what to write", () => {
    const text = `${GOOD}force_https = true\n`;
    const { problems } = parseFlyToml(text, "web/fly.toml");
    const shown = formatProblems(problems, { color: false, sources: new Map([["web/fly.toml", text]]) });
    expect(shown).toBe(
      `error: web/fly.toml:4:15 http_service.force_https: force_https = true would redirect clients of Flycast to a port for which they hold no certificate: Flycast is HTTP only [force-https]
      3 │ internal_port = 8080
    > 4 │ force_https = true
        │               ^
      5 │ 
  → write force_https = false; to keep the line for the platform, use --allow force_https or [compat] allow = ["force_https"]

1 error
`,
    );
  });

  test("without a frame where the text is not known, and with colours where they are wanted", () => {
    const { problems } = parseFlyToml("app = 1", "fly.toml");
    expect(formatProblems(problems, { color: false })).toBe(
      "error: fly.toml:1:7 app: app is a number, not text in quotes [wrong-type]\n  → write text in quotes\n\n1 error\n",
    );
    expect(formatProblems(problems, { color: true })).toContain("\u001b[31m");
    expect(formatProblems([], { color: true })).toBe("");
  });

  test("without control characters of the file, and with long lines cut around the place", () => {
    const text = `app = "x"\nenv = { a = "${"y".repeat(5000)}", "\\u001b[2J" = [], "\u202E" = 1 } # \u202E`;
    const { problems } = parseFlyToml(text, "a\u001bb.toml");
    const shown = formatProblems(problems, { color: false, sources: new Map([["a\u001bb.toml", text]]) });
    expect(shown).not.toMatch(/[\u001b\u202e]/);
    for (const line of shown.split("\n")) expect(line.length).toBeLessThan(400);
  });

  test("with the caret under its character behind tabs and wide indents", () => {
    const text = 'app = "x"\n[http_service]\n\t\tinternal_port = "8080"\n';
    const { problems } = parseFlyToml(text, "f");
    const lines = formatProblems(problems, { color: false, sources: new Map([["f", text]]) }).split("\n");
    const caret = lines.findIndex((line) => line.endsWith("^"));
    expect(lines[caret - 1]?.[lines[caret]?.indexOf("^") ?? -1]).toBe('"');
  });
});
