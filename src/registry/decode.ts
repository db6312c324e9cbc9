/**
 * Strict readers for JSON that we wrote ourselves. They refuse what does not fit instead of repairing it: a record whose
 * checksum is right and whose shape is wrong was written by another version, and guessing would lose what it meant.
 */
export type Decoder<T> = (value: unknown, path: string) => T;

/** What a decoder throws: which place is wrong, and what was expected there. */
export class DecodeError extends Error {
  constructor(path: string, expected: string) {
    super(`${path === "" ? "the value" : path} is not ${expected}`);
    this.name = "DecodeError";
  }
}

export const text: Decoder<string> = (value, path) => {
  if (typeof value !== "string") throw new DecodeError(path, "a text");
  return value;
};

export const flag: Decoder<boolean> = (value, path) => {
  if (typeof value !== "boolean") throw new DecodeError(path, "true or false");
  return value;
};

export const number: Decoder<number> = (value, path) => {
  if (typeof value !== "number" || !Number.isFinite(value)) throw new DecodeError(path, "a number");
  return value;
};

/** JSON as it came. */
export const anything: Decoder<unknown> = (value) => value;

/** A whole number from `min` to `max`, both included. */
export function whole(min: number, max: number): Decoder<number> {
  return (value, path) => {
    if (typeof value !== "number" || !Number.isInteger(value) || value < min || value > max) {
      throw new DecodeError(path, `a whole number from ${min} to ${max}`);
    }
    return value;
  };
}

/** A text that a parser of `core/` or `network/` accepts unchanged. */
export function parsed<T extends string>(
  parse: (text: string) => { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: string },
  expected: string,
): Decoder<T> {
  return (value, path) => {
    const result = typeof value === "string" ? parse(value) : undefined;
    if (result === undefined || !result.ok || result.value !== value) throw new DecodeError(path, expected);
    return result.value;
  };
}

/** Gives a branded type to what a plainer decoder has checked. */
export function branded<T>(decoder: Decoder<unknown>): Decoder<T> {
  return (value, path) => decoder(value, path) as T;
}

export function oneOf<const T extends string | boolean>(...allowed: readonly T[]): Decoder<T> {
  return (value, path) => {
    const found = allowed.find((candidate) => candidate === value);
    if (found === undefined) throw new DecodeError(path, `one of ${allowed.join(", ")}`);
    return found;
  };
}

/** JSON has no undefined: what was undefined is absent. */
export function optional<T>(decoder: Decoder<T>): Decoder<T | undefined> {
  return (value, path) => (value === undefined ? undefined : decoder(value, path));
}

export function list<T>(decoder: Decoder<T>): Decoder<readonly T[]> {
  return (value, path) => {
    if (!Array.isArray(value)) throw new DecodeError(path, "a list");
    return value.map((item: unknown, index) => decoder(item, `${path}[${index}]`));
  };
}

export function dictionary<T>(decoder: Decoder<T>): Decoder<Readonly<Record<string, T>>> {
  return (value, path) => {
    const entries: [string, T][] = [];
    for (const [key, item] of Object.entries(asObject(value, path)))
      entries.push([key, decoder(item, `${path}.${key}`)]);
    // fromEntries defines own properties, so that a key "__proto__" stays a key.
    return Object.fromEntries(entries);
  };
}

/** Every key of T, and no other. A key that T gains does not compile until it is listed here. */
export function object<T extends object>(fields: { readonly [K in keyof T]-?: Decoder<T[K]> }): Decoder<T> {
  const names = Object.keys(fields);
  const known = new Set(names);
  return (value, path) => {
    const source = asObject(value, path);
    for (const key of Object.keys(source)) {
      if (!known.has(key)) throw new DecodeError(`${path}.${key}`, "a field that this version knows");
    }
    const result: Record<string, unknown> = {};
    for (const name of names) {
      const decoder = fields[name as keyof T] as Decoder<unknown>;
      result[name] = decoder(source[name], `${path}.${name}`);
    }
    return result as T;
  };
}

function asObject(value: unknown, path: string): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new DecodeError(path, "an object");
  return value as Readonly<Record<string, unknown>>;
}
