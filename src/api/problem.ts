import type { ContentfulStatusCode } from "hono/utils/http-status";
import { type AppError, type ErrorCode } from "../core/errors.ts";

/** Statuses of the API, as clients of the platform's Machines API know them (reference §10.2). Everything else is 500. */
const STATUS: Partial<Record<ErrorCode, ContentfulStatusCode>> = {
  invalid: 400,
  config_invalid: 422,
  unauthorized: 401,
  forbidden: 403,
  not_found: 404,
  timeout: 408,
  conflict: 412,
  lease_held: 409,
  name_taken: 422,
  too_many_requests: 429,
  // Not 501: it is the request that asks for what there is not, and clients try again after any 5xx.
  unsupported: 422,
  exhausted: 503,
  missing_command: 422,
  missing_tool: 422,
  no_privilege: 422,
  port_taken: 422,
  PM02: 422,
  PM03: 422,
  PM07: 422,
  PM08: 412,
  // Somebody else's command was quicker.
  PM10: 412,
  machine_exited: 422,
};

/** The platform's error body: `error` is what a person reads, `status` is what its client branches on; `code` is ours. */
export function problem(error: AppError): {
  status: ContentfulStatusCode;
  body: { error: string; status: string; code: ErrorCode };
} {
  return {
    status: STATUS[error.code] ?? 500,
    body: {
      error: error.message,
      status:
        error.code === "name_taken" ? "name_taken" : error.code === "exhausted" ? "insufficient_capacity" : "unknown",
      code: error.code,
      ...(typeof error.details["next"] === "string" ? { next: error.details["next"] } : {}),
    },
  };
}
