import { AppError } from "../../core/errors.ts";
import type { Connection } from "../context.ts";
import { responseTo } from "../respond.ts";
import type { HttpContext } from "./context.ts";
import type { Refusal } from "./request-head.ts";

/** Counts and logs what was refused before it was a request of anybody's app. Returns what to tell the client. */
export function settleRefusal(
  context: HttpContext,
  connection: Connection,
  refusal: Refusal,
): { readonly error: AppError; readonly status: number } {
  const error = new AppError(refusal.code, refusal.detail);
  const status = refusal.status ?? responseTo(refusal.code).status;
  context.onSettled({
    work: undefined,
    subject: connection,
    machine: undefined,
    error,
    code: refusal.code,
    bytesIn: 0,
    bytesOut: 0,
    status,
  });
  return { error, status };
}
