import { err, ok, type Result } from "../core/result.ts";

const BLANK = new Set([" ", "\t", "\n", "\r"]);
// Inside double quotes a backslash keeps its meaning before anything else (POSIX XCU 2.2.3).
const ESCAPABLE_IN_QUOTES = new Set(["$", "`", '"', "\\", "\n"]);

/**
 * A command line as words, the way a POSIX shell splits it: single and double quotes, backslashes, `#` comments. Nothing
 * is expanded: `$PORT`, `*` and `&&` stay text, because the words are executed without a shell.
 *
 * An empty or blank line gives no words. An open quote or a backslash at the end is refused.
 * Source: POSIX XCU 2.2 (quoting); google/shlex, which the platform's client uses, splits the same way.
 */
export function shellSplit(line: string): Result<readonly string[], string> {
  const words: string[] = [];
  let word: string | undefined;
  let i = 0;
  while (i < line.length) {
    const char = line[i] ?? "";
    i += 1;
    if (BLANK.has(char)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else if (char === "'") {
      const end = line.indexOf("'", i);
      if (end === -1) return err(`the single quote at position ${i} is not closed`);
      word = (word ?? "") + line.slice(i, end);
      i = end + 1;
    } else if (char === '"') {
      const quoted = readDoubleQuoted(line, i);
      if (quoted === undefined) return err(`the double quote at position ${i} is not closed`);
      word = (word ?? "") + quoted.text;
      i = quoted.end;
    } else if (char === "\\") {
      if (i >= line.length) return err("the backslash at the end escapes nothing");
      const next = line[i] ?? "";
      i += 1;
      if (next !== "\n") word = (word ?? "") + next;
    } else if (char === "#" && word === undefined) {
      const end = line.indexOf("\n", i);
      i = end === -1 ? line.length : end;
    } else {
      word = (word ?? "") + char;
    }
  }
  if (word !== undefined) words.push(word);
  return ok(words);
}

function readDoubleQuoted(line: string, start: number): { text: string; end: number } | undefined {
  let text = "";
  let i = start;
  while (i < line.length) {
    const char = line[i] ?? "";
    i += 1;
    if (char === '"') return { text, end: i };
    if (char !== "\\") {
      text += char;
      continue;
    }
    const next = line[i];
    if (next === undefined) return undefined;
    i += 1;
    if (next === "\n") continue;
    text += ESCAPABLE_IN_QUOTES.has(next) ? next : `\\${next}`;
  }
  return undefined;
}

/** One word for a POSIX shell, quoted only where that is needed. */
export function shellQuote(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
