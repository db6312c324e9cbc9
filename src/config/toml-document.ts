import { parse as parseValues, TomlError, type TomlTable } from "smol-toml";
import { ParseError, parseTOML, type AST } from "toml-eslint-parser";
import { err, ok, type Result } from "../core/result.ts";
import type { Rule } from "./rules.ts";

/** Where a key is: names of tables and numbers of list items, as they are written. */
export type Path = readonly (string | number)[];

/** From 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

export interface TomlDocument {
  readonly value: TomlTable;
  /** Where a key or its value is written; the nearest parent's place for one that is not. Undefined: nowhere at all. */
  locate(path: Path, part: "key" | "value"): Position | undefined;
}

export interface TomlProblem {
  readonly message: string;
  readonly position: Position | undefined;
  readonly rule: Extract<Rule, "too-large" | "not-text" | "syntax">;
}

/**
 * The largest file that is read, in bytes. The largest of 171 real files has under 10 KB; a megabyte takes about a second
 * with its positions, ten would take long enough to be a weapon.
 */
export const MAX_FILE_BYTES = 1024 * 1024;

/** Bytes of a TOML file as text, without a byte order mark. */
export function decodeToml(data: Uint8Array): Result<string, TomlProblem> {
  if (data.byteLength > MAX_FILE_BYTES) return err(tooLarge(data.byteLength));
  try {
    return ok(new TextDecoder("utf-8", { fatal: true }).decode(data));
  } catch {
    return err({ message: "the file is not UTF-8 text", position: undefined, rule: "not-text" });
  }
}

export function parseToml(text: string): Result<TomlDocument, TomlProblem> {
  if (text.length > MAX_FILE_BYTES) return err(tooLarge(text.length));
  const source = text.startsWith("\u{FEFF}") ? text.slice(1) : text;
  try {
    // Integers above 2^53 (ids in [env]) keep every digit.
    const value = parseValues(source, { integersAsBigInt: "asNeeded" });
    return ok({ value, locate: lazyLocator(source) });
  } catch (thrown) {
    return err(syntaxProblem(thrown));
  }
}

/** The problem of a file that is not worth reading. */
export function tooLarge(size: number): TomlProblem {
  const message = `the file has ${size} bytes; at most ${MAX_FILE_BYTES} are read`;
  return { message, position: undefined, rule: "too-large" };
}

function syntaxProblem(thrown: unknown): TomlProblem {
  if (!(thrown instanceof TomlError)) {
    // A stack overflow or the like: the file's fault all the same.
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    return { message: `the file cannot be parsed: ${message}`, position: undefined, rule: "syntax" };
  }
  // The library's message is a title, a blank line and a code frame; the frame is drawn by us.
  const title = (thrown.message.split("\n")[0] ?? "").replace(/^Invalid TOML document: /, "");
  return { message: title, position: { line: thrown.line, column: thrown.column }, rule: "syntax" };
}

/** Places are needed only where there are problems, and finding them costs four times what the values cost. */
function lazyLocator(source: string): TomlDocument["locate"] {
  let places: ReadonlyMap<string, Places> | undefined;
  return (path, part) => {
    places ??= indexPlaces(source);
    for (let length = path.length; length > 0; length -= 1) {
      const place = places.get(placeKey(path.slice(0, length)));
      // For a key that is missing, the table that should hold it.
      if (place !== undefined) return length === path.length ? place[part] : place.key;
    }
    return undefined;
  };
}

interface Places {
  readonly key: Position;
  readonly value: Position;
}

function placeKey(path: Path): string {
  return JSON.stringify(path);
}

function indexPlaces(source: string): ReadonlyMap<string, Places> {
  const places = new Map<string, Places>();
  let tree: AST.TOMLProgram;
  try {
    tree = parseTOML(source, { tomlVersion: "latest" });
  } catch (thrown) {
    // The two parsers disagree about a corner of TOML: the problems stay, without their places.
    if (thrown instanceof ParseError || thrown instanceof RangeError) return places;
    throw thrown;
  }
  // A stack of our own: nested lists must not overflow the program's.
  const pending: { node: AST.TOMLKeyValue | AST.TOMLContentNode; path: Path; key: Position }[] = [];
  const queueTable = (body: readonly AST.TOMLKeyValue[], path: Path) => {
    for (const entry of body) pending.push({ node: entry, path, key: start(entry) });
  };
  for (const node of tree.body[0].body) {
    if (node.type === "TOMLKeyValue") {
      queueTable([node], []);
    } else {
      notePrefixes(places, node.resolvedKey, start(node));
      queueTable(node.body, node.resolvedKey);
    }
  }
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const { node, path, key } = next;
    if (node.type === "TOMLKeyValue") {
      const names = node.key.keys.map((part) => (part.type === "TOMLBare" ? part.name : part.value));
      const full = [...path, ...names];
      notePrefixes(places, full, key, path.length);
      places.set(placeKey(full), { key, value: start(node.value) });
      pending.push({ node: node.value, path: full, key });
    } else if (node.type === "TOMLInlineTable") {
      queueTable(node.body, path);
    } else if (node.type === "TOMLArray") {
      node.elements.forEach((element, i) => {
        const item = [...path, i];
        places.set(placeKey(item), { key: start(element), value: start(element) });
        pending.push({ node: element, path: item, key: start(element) });
      });
    }
  }
  return places;
}

/** `[a.b.c]` also makes a and a.b: they are where they are first mentioned. */
function notePrefixes(places: Map<string, Places>, path: Path, position: Position, from = 0): void {
  // A thousand dotted parts are nobody's file; their places are not worth a quadratic loop.
  for (let length = from + 1; length <= Math.min(path.length, 32); length += 1) {
    const key = placeKey(path.slice(0, length));
    const known = places.get(key);
    if (known === undefined) places.set(key, { key: position, value: position });
  }
}

function start(node: {
  readonly loc: { readonly start: { readonly line: number; readonly column: number } };
}): Position {
  return { line: node.loc.start.line, column: node.loc.start.column + 1 };
}
