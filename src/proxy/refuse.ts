import type { Socket } from "node:net";
import type { AppError } from "../core/errors.ts";
import type { Settlement } from "./context.ts";
import { reset } from "./forward.ts";
import type { Phases } from "./phases.ts";
import { settle } from "./settle.ts";

/** Ends a connection without a byte, and counts it: nobody learns what is there, or for whom. */
export function refuse(
  phases: Pick<Phases, "onSettled" | "log">,
  socket: Socket,
  error: AppError,
  subject: NonNullable<Settlement["subject"]>,
): void {
  reset(socket);
  settle(phases, { error, subject });
}
