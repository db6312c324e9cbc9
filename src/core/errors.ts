/** Who is to blame: the client, the Machine, or Flycast and its configuration. */
export type ErrorSource = "downstream" | "upstream" | "internal";

/**
 * Whether the same work may be tried again elsewhere.
 * `unsent`: nothing reached a Machine. `reused`: it died on a pooled connection before the first byte of an answer.
 */
export type Retry = "never" | "unsent" | "reused";

interface CodeInfo {
  readonly source: ErrorSource;
  readonly retry: Retry;
  /** One line: what happened. The same text stands in docs/errors.md. */
  readonly title: string;
}

/**
 * The closed list of error codes. A log line, the metric `flycast_errors_total{code}` and the response that explain one
 * failure carry the same code. Codes of the form P?nn are the platform's own, with its meaning
 * (superfly/docs monitoring/error-codes, 2026-08-07); FPnn are the proxy's where the platform publishes none; words are
 * those of commands, configuration and the registry.
 */
export const ERROR_CODES = {
  // Connecting to a Machine.
  PC01: { source: "upstream", retry: "unsent", title: "the Machine refused the connection on its internal port" },
  PC03: { source: "upstream", retry: "reused", title: "the Machine reset the connection" },
  PC05: { source: "upstream", retry: "unsent", title: "connecting to the Machine timed out" },
  PC06: { source: "upstream", retry: "unsent", title: "connecting to the Machine failed" },
  PC07: { source: "upstream", retry: "unsent", title: "every attempt to connect failed" },
  // Speaking to a Machine.
  PU01: { source: "upstream", retry: "unsent", title: "the HTTP/2 handshake with the Machine failed" },
  PU02: {
    source: "upstream",
    retry: "never",
    title: "the Machine began to answer and did not finish, or answered malformed HTTP",
  },
  PU03: { source: "upstream", retry: "unsent", title: "the Machine's host cannot be reached" },
  // Waking a Machine.
  PM02: { source: "upstream", retry: "unsent", title: "the Machine failed to start" },
  PM03: { source: "upstream", retry: "unsent", title: "the Machine started but did not become reachable in time" },
  PM07: { source: "internal", retry: "unsent", title: "the driver could not change the Machine's state" },
  PM08: { source: "internal", retry: "unsent", title: "the Machine is in a state that cannot be started" },
  PM10: { source: "internal", retry: "unsent", title: "the start was cancelled" },
  // Routing and balancing.
  PR01: { source: "upstream", retry: "never", title: "no healthy Machine can take the connection" },
  PR02: { source: "internal", retry: "unsent", title: "the chosen Machine is gone" },
  PR03: { source: "upstream", retry: "never", title: "no Machine could be reached; the last cause is given" },
  // Replay.
  PA01: { source: "downstream", retry: "never", title: "the request body is too large to be replayed" },
  PA02: { source: "upstream", retry: "never", title: "the request was replayed too often" },
  PA03: { source: "upstream", retry: "never", title: "the app's replay instruction is malformed" },
  PA04: { source: "upstream", retry: "never", title: "the app to replay to does not exist" },
  PA05: { source: "upstream", retry: "never", title: "replaying to that app is not allowed" },
  // TLS.
  PT03: { source: "downstream", retry: "never", title: "the client cancelled the TLS handshake" },
  PT04: { source: "downstream", retry: "never", title: "the TLS handshake failed" },
  PT05: {
    source: "downstream",
    retry: "never",
    title: "there is no certificate for the name that the client asked for",
  },
  PT06: { source: "internal", retry: "never", title: "the service has no certificate" },
  PT08: { source: "downstream", retry: "never", title: "the TLS handshake timed out" },
  // Limits and the proxy itself.
  PL01: { source: "internal", retry: "unsent", title: "the Machine is at its hard limit" },
  FP01: { source: "downstream", retry: "never", title: "no service listens on that address and port" },
  FP02: { source: "downstream", retry: "never", title: "the caller's network may not use that address" },
  FP03: { source: "internal", retry: "never", title: "the proxy is at its limit of connections" },
  FP04: { source: "internal", retry: "never", title: "the network used up its share of the proxy" },
  FP05: { source: "upstream", retry: "never", title: "too many connections wait for a Machine" },
  FP06: { source: "upstream", retry: "never", title: "no Machine became free in time" },
  FP07: { source: "downstream", retry: "never", title: "the request is malformed or ambiguous" },
  FP08: { source: "downstream", retry: "never", title: "the request head is too large" },
  FP09: { source: "downstream", retry: "never", title: "the request head did not arrive in time" },
  FP10: { source: "downstream", retry: "never", title: "the client left before it was answered" },
  FP11: { source: "internal", retry: "never", title: "cut at the end of the drain timeout" },
  FP12: { source: "downstream", retry: "never", title: "the PROXY protocol header is missing or malformed" },
  FP13: { source: "downstream", retry: "never", title: "the connection was idle for too long" },
  FP14: { source: "downstream", retry: "never", title: "the request asks for something that the proxy does not do" },
  FP15: { source: "internal", retry: "never", title: "an unexpected error inside the proxy" },
  FP16: { source: "downstream", retry: "never", title: "the client reset the connection" },
  // Commands, configuration, registry, node.
  config_invalid: { source: "internal", retry: "never", title: "the configuration has problems" },
  not_found: { source: "downstream", retry: "never", title: "there is no such thing" },
  name_taken: { source: "downstream", retry: "never", title: "the name is taken" },
  invalid: { source: "downstream", retry: "never", title: "the request is not valid" },
  conflict: { source: "downstream", retry: "never", title: "the thing is in a state that does not allow it" },
  unauthorized: { source: "downstream", retry: "never", title: "a valid token is needed" },
  forbidden: { source: "downstream", retry: "never", title: "the token does not allow it" },
  lease_held: { source: "downstream", retry: "never", title: "somebody else holds the Machine's lease" },
  timeout: { source: "internal", retry: "never", title: "it did not happen in time" },
  too_many_requests: { source: "downstream", retry: "never", title: "too many requests" },
  unsupported: { source: "downstream", retry: "never", title: "Flycast does not do that" },
  exhausted: { source: "internal", retry: "never", title: "there are no free numbers left" },
  state_locked: { source: "internal", retry: "never", title: "another process uses the state folder" },
  state_newer: { source: "internal", retry: "never", title: "the state folder was written by a newer version" },
  state_damaged: { source: "internal", retry: "never", title: "the state folder is damaged" },
  port_taken: { source: "internal", retry: "never", title: "the port is taken" },
  missing_command: { source: "internal", retry: "never", title: "the app names no command" },
  no_privilege: { source: "internal", retry: "never", title: "a privilege is missing" },
  missing_tool: { source: "internal", retry: "never", title: "a program is missing" },
  node_unreachable: { source: "internal", retry: "never", title: "no running node was found" },
  machine_exited: { source: "upstream", retry: "unsent", title: "the Machine's main process ended" },
  internal: { source: "internal", retry: "never", title: "an unexpected error" },
} as const satisfies Record<string, CodeInfo>;

export type ErrorCode = keyof typeof ERROR_CODES;

/** An error that has a code, and therefore a place in logs, metrics and responses. `message` is fit for the caller. */
export class AppError extends Error {
  readonly code: ErrorCode;
  readonly source: ErrorSource;
  readonly retry: Retry;
  /** Values for the log line. Never secrets. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    code: ErrorCode,
    message?: string,
    options: { cause?: unknown; details?: Readonly<Record<string, unknown>> } = {},
  ) {
    const info: CodeInfo = ERROR_CODES[code];
    super(message ?? info.title, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "AppError";
    this.code = code;
    this.source = info.source;
    this.retry = info.retry;
    this.details = options.details ?? {};
  }
}

/** Anything that was thrown, as an AppError. A stranger becomes `internal` with the stranger as its cause. */
export function toAppError(thrown: unknown, code: ErrorCode = "internal"): AppError {
  if (thrown instanceof AppError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new AppError(code, message, { cause: thrown });
}
