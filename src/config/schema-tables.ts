import type { TomlValue } from "smol-toml";
import { nearest } from "./nearest.ts";
import {
  isTable,
  kindOf,
  keyText,
  pathText,
  type Keys,
  type ReadContext,
  type TableOptions,
  type TableType,
  type Type,
  type Values,
} from "./schema.ts";
import type { Path } from "./toml-document.ts";

/** A table whose keys we know. Absent and wrong keys have their default. */
export function table<const K extends Keys>(keys: K, options: TableOptions = {}): TableType<Values<K>> {
  const names = new Map<string, string>();
  for (const [name, key] of Object.entries(keys)) {
    for (const spelling of [name, ...(key.aliases ?? [])]) names.set(spelling, name);
  }
  const type: TableType<Values<K>> = {
    label: "a table",
    json: tableJson(keys, options),
    keys,
    options,
    read(value, path, context) {
      if (!isTable(value)) return refuse(value, path, context, "a table");
      const read: Record<string, unknown> = {};
      for (const [name, key] of Object.entries(keys)) read[name] = key.default;
      const seen = new Map<string, string>();
      for (const [spelling, item] of Object.entries(value)) {
        const at = [...path, spelling];
        const name = names.get(spelling) ?? names.get(spelling.toLowerCase());
        const key = name === undefined ? undefined : keys[name];
        if (name === undefined || key === undefined) {
          reportUnknown(spelling, item, at, context, names, options);
          continue;
        }
        const other = seen.get(name);
        if (other !== undefined) {
          // Lists under an old and a new name are one list; anything else would have to lose a value.
          const more = Array.isArray(read[name]) ? key.type.read(item, at, context) : undefined;
          if (Array.isArray(read[name]) && Array.isArray(more)) read[name] = [...read[name], ...more];
          else reportTwice(other, at, context);
          continue;
        }
        seen.set(name, spelling);
        if (!names.has(spelling)) reportCase(name, at, context);
        if (key.noMeaning !== undefined) {
          const message = `${keyText(at)} has no meaning here: ${key.noMeaning}`;
          context.report({ grade: "note", path: at, part: "key", rule: "no-meaning", message });
        }
        const result = key.type.read(item, at, context);
        if (result !== undefined) read[name] = result;
      }
      context.origins.set(read, path);
      // Built from the table of keys, name by name, each by its own type.
      return read as Values<K>;
    },
  };
  return { ...type, inner: type };
}

function tableJson(keys: Keys, options: TableOptions): JsonTable {
  const properties: Record<string, unknown> = {};
  for (const [name, key] of Object.entries(keys)) {
    const described = { ...key.type.json, description: key.doc };
    properties[name] = described;
    for (const alias of key.aliases ?? []) properties[alias] = { ...described, deprecated: true };
  }
  for (const [name, retired] of Object.entries(options.retired ?? {})) {
    properties[name] = { description: retired.why, deprecated: true };
  }
  return { type: "object", properties, additionalProperties: false };
}
type JsonTable = { readonly [keyword: string]: unknown };

function refuse(value: TomlValue, path: Path, context: ReadContext, label: string): undefined {
  const message = `${keyText(path)} is ${kindOf(value)}, not ${label}`;
  context.report({ grade: "error", path, rule: "wrong-type", message, remedy: `write ${label}` });
  return undefined;
}

function reportUnknown(
  spelling: string,
  item: TomlValue,
  path: Path,
  context: ReadContext,
  names: ReadonlyMap<string, string>,
  options: TableOptions,
): void {
  const retired = Object.hasOwn(options.retired ?? {}, spelling) ? options.retired?.[spelling] : undefined;
  if (retired !== undefined) {
    // Generators used to write empty lists of these everywhere.
    const empty = Array.isArray(item) && item.length === 0;
    const grade = empty ? "note" : retired.grade;
    const message = `${keyText(path)} does nothing: ${retired.why}`;
    context.report({ grade, path, part: "key", rule: "retired-key", message, remedy: "remove it" });
    return;
  }
  const grade = options.unknown ?? "warning";
  const where = path.length === 1 ? "at the top level" : `in ${pathText(path.slice(0, -1))}`;
  const shown = pathText([spelling]);
  const message =
    grade === "error" ? `there is no key ${shown} ${where}` : `there is no key ${shown} ${where}; it is ignored`;
  const remedy = () => {
    if (path.length > 1 && context.rootKeys.has(spelling))
      return "it is a key of the top level: write it above the first [section]";
    const guess = nearest(spelling, names.keys());
    return guess === undefined ? "remove it" : `did you mean ${guess}?`;
  };
  context.report({ grade, path, part: "key", rule: "unknown-key", message, remedy });
}

function reportTwice(other: string, path: Path, context: ReadContext): void {
  const message = `${keyText(path)} and ${other} are the same key`;
  context.report({ grade: "error", path, part: "key", rule: "same-key-twice", message, remedy: "keep one of them" });
}

function reportCase(name: string, path: Path, context: ReadContext): void {
  const message = `${keyText(path)} is read as ${name}`;
  context.report({ grade: "warning", path, part: "key", rule: "key-case", message, remedy: `write ${name}` });
}

/** A list. `single`: one item without the list is accepted, as the platform's client does in old places. */
export function list<T>(item: Type<T>, options: { single?: boolean } = {}): Type<readonly T[]> {
  const json = { type: "array", items: item.json };
  const type: Type<readonly T[]> = {
    label: `a list of ${plural(item.label)}`,
    json: options.single === true ? { anyOf: [json, item.json] } : json,
    inner: item.inner,
    container: "list",
    read(value, path, context) {
      if (!Array.isArray(value)) {
        const single = options.single === true && (item.inner === undefined || isTable(value));
        if (!single) return refuse(value, path, context, type.label);
        const only = item.read(value, path, context);
        return only === undefined ? [] : [only];
      }
      const items: T[] = [];
      value.forEach((element, i) => {
        const read = item.read(element, [...path, i], context);
        if (read !== undefined) items.push(read);
      });
      return items;
    },
  };
  return type;
}

function plural(label: string): string {
  return label === "a table" ? "tables" : label;
}

/** A table whose keys the user chooses. Any name is safe: it is a Map. */
export function mapOf<T>(item: Type<T>): Type<ReadonlyMap<string, T>> {
  return {
    label: `a table of ${plural(item.label)}`,
    json: { type: "object", additionalProperties: item.json },
    inner: item.inner,
    container: "map",
    read(value, path, context) {
      if (!isTable(value)) return refuse(value, path, context, "a table");
      const read = new Map<string, T>();
      for (const [name, element] of Object.entries(value)) {
        const result = item.read(element, [...path, name], context);
        if (result !== undefined) read.set(name, result);
      }
      context.origins.set(read, path);
      return read;
    },
  };
}

/** The value in one of several forms, chosen by a look at it: `accepts` picks the first type that reads it. */
export function either<T>(
  label: string,
  forms: readonly { readonly accepts: (value: TomlValue) => boolean; readonly type: Type<T> }[],
): Type<T> {
  const inner = forms.find((form) => form.type.inner !== undefined)?.type.inner;
  return {
    label,
    json: { anyOf: forms.map((form) => form.type.json) },
    ...(inner === undefined ? {} : { inner }),
    read(value, path, context) {
      for (const form of forms) if (form.accepts(value)) return form.type.read(value, path, context);
      return refuse(value, path, context, label);
    },
  };
}

/** A type read as another value: `convert` gives undefined after a finding of its own. */
export function mapped<A, B>(
  type: Type<A>,
  convert: (value: A, path: Path, context: ReadContext) => B | undefined,
  changes: { readonly label?: string; readonly json?: Type<B>["json"] } = {},
): Type<B> {
  return {
    label: changes.label ?? type.label,
    json: changes.json ?? type.json,
    inner: type.inner,
    read(value, path, context) {
      const read = type.read(value, path, context);
      return read === undefined ? undefined : convert(read, path, context);
    },
  };
}
