import { toAppError, type AppError, type ErrorCode } from "../core/errors.ts";

/** The codes that a connection or request can end with. */
export type ProxyErrorCode = Extract<ErrorCode, `P${string}` | `FP${string}` | "machine_exited">;

export interface Response {
  /** HTTP status. Protocols without statuses are reset, or told in their own words (`handlers/postgres.ts`). */
  readonly status: number;
  /** Whether the client's connection cannot go on afterwards. */
  readonly close: boolean;
  /** One line for the client; never names addresses, paths or other customers. */
  readonly why: string;
}

/**
 * The one place that knows statuses; a code that is missing here does not compile. 502: a Machine was reached and answered
 * badly or not at all. 503: nothing could take the work (superfly/docs getting-started/troubleshooting, 2026-08-07).
 */
export const RESPONSES: Readonly<Record<ProxyErrorCode, Response>> = {
  PC01: { status: 502, close: false, why: "the app refused the connection" },
  PC03: { status: 502, close: false, why: "the app reset the connection" },
  PC05: { status: 502, close: false, why: "connecting to the app timed out" },
  PC06: { status: 502, close: false, why: "the app could not be reached" },
  PC07: { status: 502, close: false, why: "the app could not be reached" },
  PU01: { status: 502, close: false, why: "the app does not speak HTTP/2 as it should" },
  PU02: { status: 502, close: true, why: "the app did not finish its answer, or answered malformed HTTP" },
  PU03: { status: 502, close: false, why: "the app's host cannot be reached" },
  PM02: { status: 503, close: false, why: "the app failed to start" },
  PM03: { status: 503, close: false, why: "the app started but did not answer in time" },
  PM07: { status: 503, close: false, why: "the app could not be started" },
  PM08: { status: 503, close: false, why: "the app cannot be started now" },
  PM10: { status: 503, close: false, why: "the start of the app was cancelled" },
  machine_exited: { status: 502, close: false, why: "the app ended before it answered" },
  PR01: { status: 503, close: false, why: "no healthy Machine of the app can take the request" },
  PR02: { status: 503, close: false, why: "the Machine is gone" },
  PR03: { status: 503, close: false, why: "no Machine of the app could be reached" },
  PA01: { status: 413, close: true, why: "the request body is too large to be replayed" },
  PA02: { status: 502, close: false, why: "the request was replayed too often" },
  PA03: { status: 502, close: false, why: "the app's replay instruction is malformed" },
  PA04: { status: 502, close: false, why: "the app to replay to does not exist" },
  PA05: { status: 502, close: false, why: "replaying to that app is not allowed" },
  PT03: { status: 400, close: true, why: "the TLS handshake was cancelled" },
  PT04: { status: 400, close: true, why: "the TLS handshake failed" },
  PT05: { status: 421, close: true, why: "there is no certificate for that name" },
  PT06: { status: 503, close: true, why: "the service has no certificate" },
  PT08: { status: 408, close: true, why: "the TLS handshake took too long" },
  PL01: { status: 503, close: false, why: "the app is at its limit" },
  FP01: { status: 404, close: true, why: "no service listens there" },
  FP02: { status: 403, close: true, why: "not allowed" },
  FP03: { status: 503, close: true, why: "the proxy is at its limit of connections" },
  FP04: { status: 503, close: true, why: "your network used up its share of the proxy" },
  FP05: { status: 503, close: false, why: "too many requests wait for the app" },
  FP06: { status: 503, close: false, why: "the app did not become free in time" },
  FP07: { status: 400, close: true, why: "the request is malformed or ambiguous" },
  FP08: { status: 431, close: true, why: "the request head is too large" },
  FP09: { status: 408, close: true, why: "the request head did not arrive in time" },
  // 499 is what logs of other proxies call it; nobody is there to read it.
  FP10: { status: 499, close: true, why: "the client left" },
  FP11: { status: 503, close: true, why: "the app is being stopped" },
  FP12: { status: 400, close: true, why: "the PROXY protocol header is missing or malformed" },
  FP13: { status: 408, close: true, why: "the connection was idle for too long" },
  FP14: { status: 501, close: true, why: "the proxy does not do that" },
  FP15: { status: 500, close: true, why: "an unexpected error inside the proxy" },
  FP16: { status: 499, close: true, why: "the client reset the connection" },
};

/** The answer to an error. Codes that are not the proxy's own are its fault: FP15. */
export function responseTo(code: ErrorCode): Response {
  return isProxyCode(code) ? RESPONSES[code] : RESPONSES.FP15;
}

function isProxyCode(code: ErrorCode): code is ProxyErrorCode {
  return Object.hasOwn(RESPONSES, code);
}

/** Whatever was thrown, as an error with one of the proxy's codes; a stranger is a defect of ours (FP15). */
export function toProxyError(thrown: unknown): AppError {
  return toAppError(thrown, "FP15");
}
