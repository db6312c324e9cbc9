import type { TomlValue } from "smol-toml";
import type { Grade } from "./problem.ts";
import type { Path } from "./toml-document.ts";
import type { Rule } from "./rules.ts";

/** Something a reader or a check found, with the path at which it is. Becomes a `Problem` when its line is known. */
export interface Finding {
  readonly grade: Grade;
  readonly path: Path;
  /** What the place points at. @default "value" */
  readonly part?: "key" | "value";
  readonly rule: Rule;
  readonly message: string;
  /** A function where finding the words costs something: it is called only for findings that are shown. */
  readonly remedy?: string | (() => string);
}

/** What a type may do while it reads: report, and remember where a table was written. */
export interface ReadContext {
  readonly report: (finding: Finding) => void;
  /** Tables and lists that were read → their path in the file, for checks that come later. */
  readonly origins: WeakMap<object, Path>;
  /** Keys of the file's top level: TOML puts them into the table above when they are written too low. */
  readonly rootKeys: ReadonlySet<string>;
}

/** A JSON Schema (draft 2020-12), of which only the keywords we write are named. */
export type JsonSchema = { readonly [keyword: string]: unknown };

/** How a value is described, read and shown. One value of this kind declares a key for the parser, the docs and editors. */
export interface Type<T> {
  /** As in "write LABEL" and in the tables of the docs. */
  readonly label: string;
  readonly json: JsonSchema;
  /** The tables inside, for the docs. */
  readonly inner?: TableType<unknown> | undefined;
  /** Whether the inner table is repeated, or named by the user. */
  readonly container?: "list" | "map";
  /** A default as it would be written in the file. */
  readonly show?: (value: unknown) => string;
  /** The value, or undefined after a finding that says why not. */
  readonly read: (value: TomlValue, path: Path, context: ReadContext) => T | undefined;
}

/** What is said of a key. */
export interface KeyInfo {
  readonly doc: string;
  /** Where the fact comes from, when it is not the section's own source. */
  readonly source?: string;
  /** Old names of the same key. */
  readonly aliases?: readonly string[];
  /** The key is understood and has no meaning on machines of one's own: what is said in the note. */
  readonly noMeaning?: string;
  /** Shown in the docs instead of a default. */
  readonly defaultDoc?: string;
}

export interface Key<T> extends KeyInfo {
  readonly type: Type<unknown>;
  readonly default: T;
}

/** A key that may be absent. */
export function key<T>(type: Type<T>, info: KeyInfo): Key<T | undefined> {
  return { ...info, type, default: undefined };
}

/** A key with a value of its own when it is absent or wrong. */
export function keyOr<T>(type: Type<T>, value: NoInfer<T>, info: KeyInfo): Key<T> {
  return { ...info, type, default: value };
}

/** Keys that once meant something, or that people write and nothing reads. */
export interface RetiredKey {
  readonly grade: "warning" | "note";
  readonly why: string;
}

export interface TableOptions {
  /** Where the facts about its keys come from, for the docs. */
  readonly source?: string;
  /** In fly.toml the platform drops unknown keys, so they are a warning; in our own file they are an error. */
  readonly unknown?: "warning" | "error";
  readonly retired?: Readonly<Record<string, RetiredKey>>;
}

export type Keys = Readonly<Record<string, Key<unknown>>>;
export type Values<K extends Keys> = { readonly [P in keyof K]: K[P]["default"] };

export interface TableType<T> extends Type<T> {
  readonly keys: Keys;
  readonly options: TableOptions;
}

/** What a type reads. */
export type Infer<T extends Type<unknown>> = T extends Type<infer V> ? V : never;

/** `services[0].ports` */
export function pathText(path: Path): string {
  let text = "";
  for (const part of path) {
    if (typeof part === "number") text += `[${part}]`;
    else {
      const name = /^[A-Za-z0-9_-]{1,80}$/.test(part) ? part : JSON.stringify(part.slice(0, 80));
      text += text === "" ? name : `.${name}`;
    }
  }
  return text;
}

/** The last part of a path, for messages that stand beside the whole path: `handlers[0]`, `interval`. */
export function keyText(path: Path): string {
  const last = path.findLastIndex((part) => typeof part === "string");
  return last === -1 ? "the file" : pathText(path.slice(last));
}

/** What kind of TOML value this is, for messages. */
export function kindOf(value: TomlValue): string {
  if (typeof value === "string") return "text";
  if (typeof value === "boolean") return "true or false";
  if (typeof value === "number" || typeof value === "bigint") return "a number";
  if (Array.isArray(value)) return "a list";
  if (isTable(value)) return "a table";
  return "a date";
}

export type TomlTableValue = { readonly [name: string]: TomlValue };

export function isTable(value: unknown): value is TomlTableValue {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}
