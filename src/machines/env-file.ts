/** `env_file`: what `fly secrets` would hold. Its values are neither stored nor logged, and no message of ours repeats one. */
import { readFile } from "node:fs/promises";
import { AppError } from "../core/errors.ts";
import { err, ok, type Result } from "../core/result.ts";

const ASSIGNMENT = /^(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*(.*)$/s;
const ESCAPES: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t", '"': '"', "\\": "\\", $: "$" };

/**
 * `KEY=value` lines as `fly secrets import` and dotenv read them: `export` before the name, blank lines, `#` at the start
 * of a line or after a space, 'literal' and "with \n escapes" values, both of which may run over several lines. Nothing
 * is expanded. A name that comes twice has its last value. Errors name lines, never values.
 */
export function parseEnvFile(text: string): Result<Record<string, string>, readonly string[]> {
  const values: Record<string, string> = {};
  const problems: string[] = [];
  const lines = text.replace(/^\uFEFF/, "").split(/\r?\n/);
  for (let index = 0; index < lines.length; index++) {
    const number = index + 1;
    const line = (lines[index] ?? "").trim();
    if (line === "" || line.startsWith("#")) continue;
    const [, name, rest] = ASSIGNMENT.exec(line) ?? [];
    if (name === undefined || rest === undefined) {
      problems.push(`line ${number}: expected NAME=value`);
      continue;
    }
    if (name.startsWith("FLY_")) {
      problems.push(`line ${number}: ${name}: names that start with FLY_ belong to the platform`);
      continue;
    }
    const quote = rest[0];
    if (quote !== '"' && quote !== "'") {
      values[name] = rest.replace(/(?:^|\s+)#.*$/, "").trimEnd();
      continue;
    }
    // The value goes on to its closing quote, on a later line if need be.
    let body = rest.slice(1);
    let end = closing(body, quote);
    while (end < 0 && index + 1 < lines.length) {
      body += `\n${lines[++index] ?? ""}`;
      end = closing(body, quote);
    }
    if (end < 0) {
      problems.push(`line ${number}: ${name}: the quote ${quote} is never closed`);
      continue;
    }
    if (!/^\s*(#.*)?$/.test(body.slice(end + 1))) problems.push(`line ${number}: ${name}: something follows the quote`);
    const inner = body.slice(0, end);
    values[name] = quote === "'" ? inner : inner.replace(/\\(.)/gs, (all, c: string) => ESCAPES[c] ?? all);
  }
  if (Object.values(values).some((value) => value.includes("\0"))) problems.push("a value holds a zero byte");
  return problems.length === 0 ? ok(values) : err(problems);
}

function closing(body: string, quote: string): number {
  for (let i = 0; i < body.length; i++) {
    if (quote === '"' && body[i] === "\\") i++;
    else if (body[i] === quote) return i;
  }
  return -1;
}

/** Reads and parses one. Undefined gives nothing. @errors PM02 naming the file and its lines */
export async function readEnvFile(path: string | undefined): Promise<Record<string, string>> {
  if (path === undefined) return {};
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    throw new AppError("PM02", `env_file ${path} cannot be read (${error.code ?? error.message})`);
  });
  const parsed = parseEnvFile(text);
  if (!parsed.ok) throw new AppError("PM02", `env_file ${path}: ${parsed.error.join("; ")}`);
  return parsed.value;
}
