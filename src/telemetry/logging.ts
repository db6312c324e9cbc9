import pino, { type Logger } from "pino";
import { cleanLine, escapeControls, redact } from "./redact.ts";

export type { Logger };

/** Where lines go: each is one whole line with its line feed. */
export interface LogDestination {
  write(line: string): unknown;
}

export interface LoggerOptions {
  /** `trace`, `debug`, `info`, `warn`, `error`, `fatal` or `silent`. Anything else is taken as `info`. */
  readonly level: string;
  /** A stream, or a file descriptor. @default 2, standard error */
  readonly destination?: LogDestination | number;
  /** For people: `12:30:05.123 WARN  message  key=value`. @default false: one JSON object a line */
  readonly pretty?: boolean;
}

// Nobody reads any more (a stopped terminal, a full pipe): then lines are lost, and the proxy goes on.
const MOST_BUFFERED = 4 * 1024 * 1024;

/**
 * A pino logger that gives nothing away: values named like secrets and credentials inside texts are hidden, long values
 * are cut, and control characters, which may come from a client, are escaped. Time is ISO 8601 in UTC.
 */
export function createLogger(options: LoggerOptions): Logger {
  const { destination = 2, pretty = false } = options;
  const sink: LogDestination =
    typeof destination === "number"
      ? pino.destination({ fd: destination, sync: false, maxLength: MOST_BUFFERED })
      : destination;
  const level = options.level === "silent" || Object.hasOwn(pino.levels.values, options.level) ? options.level : "info";
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: {
        level: (label) => ({ level: label }),
        log: (details) => Object.fromEntries(Object.entries(redact(details) as object)),
      },
      // `redact` has made plain values of errors already.
      serializers: { err: (value: unknown) => value },
    },
    {
      write: (line: string) => {
        const clean = cleanLine(line.endsWith("\n") ? line.slice(0, -1) : line);
        sink.write(`${pretty ? prettyLine(clean) : clean}\n`);
      },
    },
  );
}

function prettyLine(line: string): string {
  const { level, time, msg, err, ...rest } = JSON.parse(line) as Readonly<Record<string, unknown>>;
  const clock = typeof time === "string" ? time.slice(11, 23) : "";
  const details = Object.entries(rest).map(([key, value]) => `${key}=${show(value)}`);
  const main = [clock, String(level).toUpperCase().padEnd(5), show(msg ?? "")].join(" ");
  return escapeControls([main, ...details, ...(err === undefined ? [] : [`err=${showError(err)}`])].join("  "));
}

function show(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** The chain of messages: stacks are for the JSON form. */
function showError(error: unknown): string {
  if (typeof error !== "object" || error === null) return show(error);
  const { code, message, cause } = error as { code?: unknown; message?: unknown; cause?: unknown };
  const own = [code, message].filter((part) => typeof part === "string").join(": ");
  return cause === undefined ? own : `${own} (${showError(cause)})`;
}
