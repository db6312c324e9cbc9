/** What the node and its starter say to each other, as JSON over the IPC channel. Both come from one build. */

export interface StartOrder {
  readonly op: "start";
  /** Names this life in all later messages. Never used twice by one node. */
  readonly key: number;
  readonly id: string;
  readonly generation: number;
  readonly argv: readonly [string, ...string[]];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** Where output and life file go. Made if missing. */
  readonly folder: string;
  readonly owner: { readonly uid: number; readonly gid: number } | undefined;
  /** Whether the end of the main process ends its session and descendants (no namespace that would tell its members). */
  readonly sweep: boolean;
}

export type Order =
  | StartOrder
  | { readonly op: "signal"; readonly key: number; readonly signal: NodeJS.Signals }
  /** Sends a signal, if there is one, to every process of a Machine without a namespace and reports whom it found. */
  | { readonly op: "sweep"; readonly request: number; readonly key: number; readonly signal?: NodeJS.Signals };

export type Report =
  | { readonly op: "started"; readonly key: number; readonly pid: number; readonly startTime: number }
  /** `code` as in errno. */
  | { readonly op: "refused"; readonly key: number; readonly code: string; readonly message: string }
  | { readonly op: "exited"; readonly key: number; readonly code: number | null; readonly signal: string | null }
  | { readonly op: "swept"; readonly request: number; readonly found: readonly { pid: number; state: string }[] };

/** The channel carries only what the other half of this program wrote, so its shape needs no check. */
export function parseOrder(message: unknown): Order {
  return message as Order;
}

export function parseReport(message: unknown): Report {
  return message as Report;
}
