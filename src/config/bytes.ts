import { err, ok, type Result } from "../core/result.ts";
import { bytes, type Bytes } from "../core/units.ts";

const POWERS: Readonly<Record<string, number>> = { "": 0, k: 1, m: 2, g: 3, t: 4, p: 5 };
const SIZE = /^(\d{1,15}(?:\.\d{1,6})?) ?([kmgtp]?)(i?)b?$/i;

/**
 * A number of bytes: `64KiB`, `64KB`, `30gb`, `1.5 GB`, `512`.
 *
 * `decimal`: K is 1000 and Ki 1024. `binary`: both are 1024, as for memory. A text without any unit counts in `unit`.
 * Source: docker/go-units `FromHumanSize`, `RAMInBytes`, which the platform's client uses for volumes and for memory.
 */
export function parseBytes(
  text: string,
  options: { base: "decimal" | "binary"; unit?: number },
): Result<Bytes, string> {
  const shown = JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
  const match = SIZE.exec(text.trim());
  if (match === null) return err(`${shown} is not a size`);
  const [, digits = "", prefix = "", binary = ""] = match;
  if (binary !== "" && prefix === "") return err(`${shown} is not a size`);
  const bare = prefix === "" && !/b$/i.test(text.trim());
  const base = options.base === "binary" || binary !== "" ? 1024 : 1000;
  const factor = bare ? (options.unit ?? 1) : base ** (POWERS[prefix.toLowerCase()] ?? 0);
  const value = Math.round(Number(digits) * factor);
  if (!Number.isSafeInteger(value)) return err(`${shown} is too large`);
  return ok(bytes(value));
}

const NAMES = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** `64KiB`, `1500B`: the largest binary unit that divides the number. */
export function formatBytes(value: Bytes): string {
  let power = 0;
  let rest: number = value;
  while (rest > 0 && rest % 1024 === 0 && power < NAMES.length - 1) {
    rest /= 1024;
    power += 1;
  }
  return `${rest}${NAMES[power]}`;
}
