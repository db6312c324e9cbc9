/** Keeps secrets and tricks out of the log, wherever in a value they stand. */

const SECRET_KEY =
  /^(?:(?:proxy-)?authorization|(?:set-)?cookie|.*token|.*secret|.*password|env|private_?key|key_?pem)$/i;
/** Credentials inside a longer text: our tokens, and what stands in an Authorization header. */
const SECRET_TEXT = /\bfct_[A-Za-z0-9_-]+|\b(Bearer|Basic|FlyV1) +[^\s"\\]+/g;
/**
 * What a terminal or a viewer may act on: C0 (JSON escapes those already), DEL and C1, line and paragraph separators, and
 * the marks that turn the direction of writing around ("Trojan Source", 2021).
 */
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

const HIDDEN = "[redacted]";
const DEEPEST = 6;
const LONGEST_TEXT = 4096;
const LONGEST_LIST = 100;

/** A copy of a value for the log: secrets hidden by name, long texts and lists cut, and no deeper than a few levels. */
export function redact(value: unknown, depth = 0): unknown {
  if (typeof value === "string") return value.length > LONGEST_TEXT ? `${value.slice(0, LONGEST_TEXT)}…` : value;
  if (typeof value === "bigint") return String(value);
  if (typeof value !== "object" || value === null) return value;
  if (depth >= DEEPEST) return "…";
  if (value instanceof Error) return redactError(value, depth);
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (value instanceof Set) return redact([...value], depth);
  if (value instanceof Map) return redact(Object.fromEntries(value), depth);
  if (Array.isArray(value)) return value.slice(0, LONGEST_LIST).map((item) => redact(item, depth + 1));
  const entries = Object.entries(value).map(([key, item]): [string, unknown] => [
    key,
    SECRET_KEY.test(key) && item !== undefined ? HIDDEN : redact(item, depth + 1),
  ]);
  return Object.fromEntries(entries);
}

function redactError(error: Error, depth: number): unknown {
  const own = Object.entries(error).filter(([key]) => key !== "name" && key !== "cause");
  return {
    type: error.name,
    message: redact(error.message),
    stack: redact(error.stack),
    ...(redact(Object.fromEntries(own), depth) as object),
    ...(error.cause === undefined ? {} : { cause: redact(error.cause, depth + 1) }),
  };
}

/** A finished line of JSON, with credentials hidden that stand inside texts, and every control character escaped. */
export function cleanLine(line: string): string {
  return escapeControls(
    line.replace(SECRET_TEXT, (_, scheme?: string) => (scheme === undefined ? HIDDEN : `${scheme} ${HIDDEN}`)),
  );
}

/** `\u001b` for the character that begins an escape sequence: text that a terminal shows and does not obey. */
export function escapeControls(text: string): string {
  return text.replace(CONTROL, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
