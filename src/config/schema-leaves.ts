import type { TomlValue } from "smol-toml";
import type { Result } from "../core/result.ts";
import type { Bytes, Milliseconds, Port } from "../core/units.ts";
import { bytes, ms, parsePort } from "../core/units.ts";
import { formatBytes, parseBytes } from "./bytes.ts";
import { bareDuration, formatDuration, parseDuration, type BareUnit } from "./duration.ts";
import { nearest } from "./nearest.ts";
import { kindOf, keyText, type ReadContext, type Type } from "./schema.ts";
import { shellSplit } from "./shell-split.ts";
import type { Path } from "./toml-document.ts";

function wrongType(value: TomlValue, path: Path, context: ReadContext, label: string): undefined {
  const message = `${keyText(path)} is ${kindOf(value)}, not ${label}`;
  context.report({ grade: "error", path, rule: "wrong-type", message, remedy: `write ${label}` });
  return undefined;
}

function badValue(path: Path, context: ReadContext, message: string, remedy?: string): undefined {
  const finding = { grade: "error", path, rule: "bad-value", message } as const;
  context.report(remedy === undefined ? finding : { ...finding, remedy });
  return undefined;
}

export const text: Type<string> = {
  label: "text",
  json: { type: "string" },
  read(value, path, context) {
    if (typeof value !== "string") return wrongType(value, path, context, "text in quotes");
    // No file name, header, command or variable of an operating system can hold it.
    if (value.includes("\0")) return badValue(path, context, `${keyText(path)} holds a NUL character`, "remove it");
    return value;
  },
};

/** Text of which the empty one is the same as none: the platform's client leaves it out. */
export const filledText: Type<string> = orAbsent(text);

/** The same type, but empty text counts as absent. */
export function orAbsent<T>(type: Type<T>): Type<T> {
  return { ...type, read: (value, path, context) => (value === "" ? undefined : type.read(value, path, context)) };
}

/** Text, or a number or boolean that the platform's client prints as text. */
export const printedText: Type<string> = {
  label: "text",
  json: { type: ["string", "number", "boolean"] },
  read(value, path, context) {
    if (typeof value === "string") return text.read(value, path, context);
    const printed = printScalar(value);
    return printed ?? wrongType(value, path, context, "text in quotes");
  },
};

/** As Go's `%v` prints it. Undefined for tables and lists. */
export function printScalar(value: TomlValue): string | undefined {
  if (typeof value === "boolean" || typeof value === "bigint") return String(value);
  if (value instanceof Date) return value.toISOString();
  if (typeof value !== "number") return undefined;
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf";
  if (Number.isInteger(value) && Math.abs(value) < 1e21) return String(value);
  const size = Math.abs(value);
  // %v switches to an exponent below 1e-4 and from 1e21 on, and writes it with two digits.
  const shortest = size < 1e-4 || size >= 1e21 ? value.toExponential() : String(value);
  return shortest.replace(/e([+-])(\d)$/, "e$10$2");
}

export const flag: Type<boolean> = {
  label: "true or false",
  json: { type: "boolean" },
  read: (value, path, context) =>
    typeof value === "boolean" ? value : wrongType(value, path, context, "true or false (without quotes)"),
};

/** A whole number. `cast`: also as text, where the platform's client converts it. */
export function integer(range: { min?: number; max?: number; cast?: boolean } = {}): Type<number> {
  const min = range.min ?? Number.MIN_SAFE_INTEGER;
  const max = range.max ?? Number.MAX_SAFE_INTEGER;
  const json = {
    type: range.cast === true ? ["integer", "string"] : "integer",
    ...(range.min === undefined ? {} : { minimum: min }),
    ...(range.max === undefined ? {} : { maximum: max }),
  };
  const label = integerLabel(range);
  return {
    label,
    json,
    read(value, path, context) {
      const number = range.cast === true && typeof value === "string" ? castInteger(value) : value;
      if (range.cast === true && typeof value === "string" && number === undefined) {
        return badValue(path, context, `${keyText(path)}: ${JSON.stringify(value.slice(0, 40))} is not a number`);
      }
      if (typeof number !== "number" && typeof number !== "bigint") {
        const hint = typeof value === "string" ? `${label} (without quotes)` : label;
        return wrongType(value, path, context, hint);
      }
      if (typeof number === "bigint" || !Number.isInteger(number) || number < min || number > max) {
        return badValue(path, context, `${keyText(path)} is ${number}`, `write ${label}`);
      }
      return number;
    },
  };
}

function integerLabel({ min, max }: { min?: number; max?: number }): string {
  if (min === undefined) return "a whole number";
  return max === undefined ? `a whole number, ${min} or more` : `a whole number from ${min} to ${max}`;
}

function castInteger(value: string): number | undefined {
  return /^[+-]?\d{1,15}$/.test(value) ? Number(value) : undefined;
}

export function port(options: { cast?: boolean } = {}): Type<Port> {
  const number = integer(options);
  return {
    label: "a port (1 to 65535)",
    json: { ...number.json, minimum: 1, maximum: 65535 },
    read(value, path, context) {
      const read = number.read(value, path, context);
      if (read === undefined) return undefined;
      const parsed = parsePort(read);
      if (parsed.ok) return parsed.value;
      const remedy = "write a number from 1 to 65535";
      context.report({ grade: "error", path, rule: "bad-port", message: `${keyText(path)}: ${parsed.error}`, remedy });
      return undefined;
    },
  };
}

export function decimal(min: number, max: number): Type<number> {
  const label = max === Number.MAX_VALUE ? "a number" : `a number from ${min} to ${max}`;
  return {
    label,
    json: { type: "number", minimum: min, ...(max === Number.MAX_VALUE ? {} : { maximum: max }) },
    read(value, path, context) {
      if (typeof value !== "number") return wrongType(value, path, context, label);
      // The comparison is written so that NaN fails it.
      if (!(value >= min && value <= max))
        return badValue(path, context, `${keyText(path)} is ${value}`, `write ${label}`);
      return value;
    },
  };
}

export function oneOf<const T extends string>(names: readonly T[]): Type<T> {
  const listed = names.map((name) => `"${name}"`).join(", ");
  return {
    label: names.map((name) => `\`${name}\``).join(", "),
    json: { enum: names },
    read(value, path, context) {
      if (typeof value !== "string") return wrongType(value, path, context, `one of ${listed}`);
      const found = names.find((name) => name === value);
      if (found !== undefined) return found;
      const guess = nearest(value, names);
      const remedy = guess === undefined ? `write one of ${listed}` : `write "${guess}" (one of ${listed})`;
      return badValue(path, context, `${keyText(path)} is ${JSON.stringify(value.slice(0, 80))}`, remedy);
    },
  };
}

/**
 * A duration as text in Go's form. A bare number counts in `bare`, which differs from place to place; read as nanoseconds
 * it is a warning, because nobody means that. `emptyIsAbsent`: where the platform's client drops an empty text.
 */
export function duration(
  bare: BareUnit,
  options: { emptyIsAbsent?: boolean; min?: Milliseconds } = {},
): Type<Milliseconds> {
  const remedy = 'write a number with a unit, such as "500ms", "10s" or "1m30s"';
  const refuse = (path: Path, context: ReadContext, message: string) => {
    context.report({ grade: "error", path, rule: "bad-duration", message: `${keyText(path)}: ${message}`, remedy });
    return undefined;
  };
  const check = (parsed: Result<Milliseconds, string>, path: Path, context: ReadContext) => {
    if (!parsed.ok) return refuse(path, context, parsed.error);
    if (options.min === undefined || parsed.value >= options.min) return parsed.value;
    return refuse(path, context, `it must be at least ${formatDuration(options.min)}`);
  };
  return {
    label: bare === "refused" || bare === "nanoseconds" ? "a duration" : `a duration, or a number of ${bare}`,
    json: bare === "refused" ? { type: "string" } : { type: ["string", "number"] },
    show: (value) => JSON.stringify(formatDuration(ms(Number(value)))),
    read(value, path, context) {
      if (value === "" && options.emptyIsAbsent === true) return undefined;
      if (typeof value === "string") return check(parseDuration(value), path, context);
      if (typeof value !== "number" || bare === "refused") {
        return wrongType(value, path, context, 'a duration in quotes, such as "10s"');
      }
      const read = check(bareDuration(value, bare), path, context);
      if (read === undefined) return undefined;
      if (bare === "nanoseconds" && value !== 0) {
        const message = `${keyText(path)}: the platform reads the bare number ${value} as nanoseconds here`;
        context.report({ grade: "warning", path, rule: "bare-nanoseconds", message, remedy });
      }
      return read;
    },
  };
}

/** A size. `unit`: what a number without one counts in. `number`: a bare TOML number is accepted. */
export function size(options: {
  base: "decimal" | "binary";
  unit?: number;
  number?: boolean;
  min?: Bytes;
  max?: Bytes;
}): Type<Bytes> {
  return {
    label: 'a size, such as "64KiB" or "1GB"',
    json: options.number === true ? { type: ["string", "number"] } : { type: "string" },
    show: (value) => JSON.stringify(formatBytes(bytes(Number(value)))),
    read(value, path, context) {
      const written = options.number === true && typeof value === "number" ? String(value) : value;
      if (typeof written !== "string") return wrongType(value, path, context, 'a size in quotes, such as "1GB"');
      const { min = 0, max = Number.MAX_SAFE_INTEGER } = options;
      const parsed = parseBytes(written, options);
      if (parsed.ok && parsed.value >= min && parsed.value <= max) return parsed.value;
      const reason = parsed.ok
        ? `it must be from ${formatBytes(bytes(min))} to ${formatBytes(bytes(max))}`
        : parsed.error;
      const remedy = 'write a size such as "512MB" or "10GB"';
      context.report({ grade: "error", path, rule: "bad-size", message: `${keyText(path)}: ${reason}`, remedy });
      return undefined;
    },
  };
}

/** A command line, split as a shell would. Blank: no words. */
export const commandLine: Type<readonly string[]> = {
  label: "a command line",
  json: { type: "string" },
  read(value, path, context) {
    const line = text.read(value, path, context);
    if (line === undefined) return undefined;
    const split = shellSplit(line);
    if (split.ok) return split.value;
    const remedy = "close the quote, or escape it with a backslash";
    const message = `${keyText(path)}: ${split.error}`;
    context.report({ grade: "error", path, rule: "bad-command", message, remedy });
    return undefined;
  },
};

/** Understood nowhere: the value is not looked at. */
export const anything: Type<TomlValue> = { label: "anything", json: {}, read: (value) => value };
