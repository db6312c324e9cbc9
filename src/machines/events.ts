import type { ErrorCode } from "../core/errors.ts";
import type { AppName, MachineId } from "../core/ids.ts";
import type { Exit } from "./driver.ts";
import type { Receipt } from "./receipts.ts";
import type { Holder } from "./why.ts";

/** What happens to Machines, for the log, `flycast up --json` and metrics (design §5). */
export type MachineEvent = { readonly machine: MachineId; readonly app: AppName } & (
  | { readonly event: "wake"; readonly by: string; readonly waiters: number }
  /** A start by a command or a policy has no receipt. That of a wake comes when its receipt is complete. */
  | { readonly event: "started"; readonly because: string; readonly receipt: Receipt | undefined }
  /** `cut`: the claims that were in use and were ended by force. */
  | { readonly event: "stopping"; readonly because: string; readonly cut: readonly Holder[] }
  | { readonly event: "stopped"; readonly because: string; readonly exit: Exit | undefined }
  | { readonly event: "suspended"; readonly because: string }
  | { readonly event: "failed"; readonly code: ErrorCode; readonly message: string }
);
