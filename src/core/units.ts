import { err, ok, type Result } from "./result.ts";

/** A type that only the parser of the thing can make, so that holding a value is proof that it was checked. */
export type Brand<T, B extends string> = T & { readonly __brand: B };

/** A length of time in milliseconds. Whole or fractional, never negative. */
export type Milliseconds = Brand<number, "ms">;
/** Milliseconds of the monotonic clock: only differences mean something. See `Clock.now`. */
export type Monotonic = Brand<number, "monotonic">;
/** Milliseconds since 1970-01-01T00:00:00Z. For people and files, never for measuring. See `Clock.wall`. */
export type WallTime = Brand<number, "wall">;
/** A TCP or UDP port, 1 to 65535. */
export type Port = Brand<number, "Port">;
/** A number of bytes. */
export type Bytes = Brand<number, "bytes">;

export function ms(value: number): Milliseconds {
  return value as Milliseconds;
}

export function seconds(value: number): Milliseconds {
  return (value * 1000) as Milliseconds;
}

export function bytes(value: number): Bytes {
  return value as Bytes;
}

export function parsePort(value: number): Result<Port, string> {
  if (!Number.isInteger(value) || value < 1 || value > 65535) return err(`${value} is not a port (1 to 65535)`);
  return ok(value as Port);
}

/** For ports that are constants in our own source or were just given to us by the kernel. Throws on anything else. */
export function port(value: number): Port {
  const parsed = parsePort(value);
  if (!parsed.ok) throw new RangeError(parsed.error);
  return parsed.value;
}
