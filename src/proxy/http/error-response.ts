/** What the client is told when the proxy answers itself: a status, the code, one line. Never an address, a Machine or a cause. */
import type { ErrorCode } from "../../core/errors.ts";
import { responseTo } from "../respond.ts";

/** Seconds after which trying again makes sense. */
const RETRY_AFTER: Partial<Record<ErrorCode, number>> = {
  PC07: 1,
  PU03: 1,
  PM02: 5,
  PM03: 5,
  PM07: 5,
  PM08: 5,
  PM10: 1,
  PR01: 5,
  PR02: 1,
  PR03: 5,
  PL01: 1,
  FP03: 1,
  FP04: 1,
  FP05: 1,
  FP06: 1,
  FP11: 1,
};

const REASONS: Readonly<Record<number, string>> = {
  400: "Bad Request",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  413: "Content Too Large",
  417: "Expectation Failed",
  421: "Misdirected Request",
  431: "Request Header Fields Too Large",
  499: "Client Closed Request",
  500: "Internal Server Error",
  501: "Not Implemented",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
  505: "HTTP Version Not Supported",
};

export function statusOf(code: ErrorCode): number {
  return responseTo(code).status;
}

export function retryAfterOf(code: ErrorCode): number | undefined {
  return RETRY_AFTER[code];
}

export function errorBody(code: ErrorCode): string {
  return `${code}: ${responseTo(code).why}\n`;
}

/**
 * A whole HTTP/1.1 response. `status` where the code alone does not tell it (405, 417, 505). `close`: the connection
 * ends after it. `lines`: further header lines, each with CR LF.
 */
export function errorResponse(
  code: ErrorCode,
  how: {
    readonly status?: number | undefined;
    readonly close: boolean;
    readonly head: boolean;
    readonly lines: string;
  },
): string {
  const status = how.status ?? statusOf(code);
  const body = errorBody(code);
  const retryAfter = RETRY_AFTER[code];
  return (
    `HTTP/1.1 ${status} ${REASONS[status] ?? "Error"}\r\n` +
    "Content-Type: text/plain; charset=utf-8\r\n" +
    "Cache-Control: no-store\r\n" +
    `Content-Length: ${body.length}\r\n` +
    (retryAfter === undefined ? "" : `Retry-After: ${retryAfter}\r\n`) +
    how.lines +
    (how.close ? "Connection: close\r\n" : "") +
    "\r\n" +
    (how.head ? "" : body)
  );
}
