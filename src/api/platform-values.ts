import { parseDuration } from "../config/duration.ts";
import type { Signal } from "../config/model.ts";
import { AppError } from "../core/errors.ts";
import { ms, parsePort, type Milliseconds, type Port } from "../core/units.ts";

const KILL_SIGNALS: ReadonlySet<string> = new Set<Signal>([
  "SIGHUP",
  "SIGINT",
  "SIGQUIT",
  "SIGKILL",
  "SIGUSR1",
  "SIGUSR2",
  "SIGTERM",
  "SIGSTOP",
]);

/** What may be sent to a process besides: it does with it what it likes, or dies of it. */
const OTHER_SIGNALS = ["SIGABRT", "SIGALRM", "SIGFPE", "SIGILL", "SIGPIPE", "SIGSEGV", "SIGTRAP"] as const;
const SENT_SIGNALS: ReadonlySet<string> = new Set([...KILL_SIGNALS, ...OTHER_SIGNALS]);

/** What ends a Machine. A name, with or without SIG, in any case. The platform's default is SIGINT. */
export function toSignal(name: string | undefined): Signal {
  return name === undefined || name === "" ? "SIGINT" : (oneOf(KILL_SIGNALS, name) as Signal);
}

/** What is sent to a Machine's process. */
export function toSentSignal(name: string): NodeJS.Signals {
  return oneOf(SENT_SIGNALS, name) as NodeJS.Signals;
}

function oneOf(known: ReadonlySet<string>, name: string): string {
  const upper = name.toUpperCase();
  const full = upper.startsWith("SIG") ? upper : `SIG${upper}`;
  if (!known.has(full)) throw new AppError("invalid", `"${name}" is not one of ${[...known].join(", ")}`);
  return full;
}

/** A Go duration or nanoseconds; zero and absent are the default (flyctl always sends a timeout, "0s" when unset). */
export function toDuration(
  value: string | number | null | undefined,
  fallback: Milliseconds,
  what: string,
): Milliseconds {
  if (value == null || value === 0 || value === "") return fallback;
  if (typeof value === "number") return ms(value / 1e6);
  const parsed = parseDuration(value);
  if (!parsed.ok) throw new AppError("invalid", `${what}: ${parsed.error}`);
  return parsed.value === 0 ? fallback : parsed.value;
}

/** @errors invalid */
export function toPort(value: number): Port {
  const parsed = parsePort(value);
  if (!parsed.ok) throw new AppError("invalid", parsed.error);
  return parsed.value;
}
