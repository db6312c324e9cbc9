import { err, ok, type Result } from "../core/result.ts";
import { ms, type Milliseconds } from "../core/units.ts";

/** What a bare number means. Go's own duration counts nanoseconds; the platform's client changes that in places. */
export type BareUnit = "seconds" | "milliseconds" | "nanoseconds" | "refused";

const UNIT_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3, // U+00B5, micro sign
  μs: 1e-3, // U+03BC, Greek mu
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};
const BARE_MS: Readonly<Record<Exclude<BareUnit, "refused">, number>> = {
  seconds: 1000,
  milliseconds: 1,
  nanoseconds: 1e-6,
};
const PART = /(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)/y;
/** The longest duration that a timer of Node can wait for: 24 days. A longer one would fire at once. */
export const MAX_DURATION = ms(2 ** 31 - 1);
// No duration is written with more characters; a longer text is not worth reading.
const MAX_LENGTH = 64;

/**
 * A duration as Go writes it: `1m30s`, `500ms`, `1.5h`, `0`. Source: time.ParseDuration, go.dev/pkg/time.
 * Negative ones are refused, which Go does not do: no setting here can mean one.
 */
export function parseDuration(text: string): Result<Milliseconds, string> {
  const shown = JSON.stringify(text.length > MAX_LENGTH ? `${text.slice(0, MAX_LENGTH)}…` : text);
  if (text === "0" || text === "+0" || text === "-0") return ok(ms(0));
  if (text === "") return err("the duration is empty");
  if (/^\d+(\.\d+)?$/.test(text)) return err(`${shown} has no unit`);
  if (text.length > MAX_LENGTH) return err(`${shown} is not a duration`);
  if (text.startsWith("-")) return err(`${shown} is negative`);
  let total = 0;
  PART.lastIndex = text.startsWith("+") ? 1 : 0;
  while (PART.lastIndex < text.length) {
    const match = PART.exec(text);
    if (match === null) return err(`${shown} is not a duration`);
    total += Number(match[1]) * (UNIT_MS[match[2] ?? ""] ?? 0);
  }
  if (total > MAX_DURATION) return err(`${shown} is more than 24 days`);
  return ok(ms(total));
}

/** A bare number in the unit that its place gives it. Fractions are cut off first, as the platform's client does. */
export function bareDuration(value: number, unit: Exclude<BareUnit, "refused">): Result<Milliseconds, string> {
  const total = Math.trunc(value) * BARE_MS[unit];
  // The comparison is written so that NaN fails it.
  if (!(total >= 0)) return err(`${value} is not a duration`);
  if (total > MAX_DURATION) return err(`${value} ${unit} are more than 24 days`);
  return ok(ms(total));
}

/** The shortest Go form: `1m30s`, `250ms`, `0s`. Reads back as the same number of milliseconds. */
export function formatDuration(value: Milliseconds): string {
  if (value === 0) return "0s";
  if (value < 1) return `${Math.round(value * 1e6)}ns`;
  const hours = Math.floor(value / 3_600_000);
  const minutes = Math.floor((value % 3_600_000) / 60_000);
  const rest = value % 60_000;
  const parts = [hours > 0 ? `${hours}h` : "", minutes > 0 ? `${minutes}m` : ""];
  if (rest > 0) parts.push(Number.isInteger(rest / 1000) || rest > 1000 ? `${rest / 1000}s` : `${rest}ms`);
  return parts.join("");
}
