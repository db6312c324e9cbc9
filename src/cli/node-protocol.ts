import type { SystemEvent } from "../api/events.ts";
import type { Workspace } from "../config/model.ts";
import type { NetworkMode } from "../network/plane.ts";

/** What the outer process tells the node, and what the node answers; encoded by `wire.ts` between processes. */
export type ToNode =
  | { readonly kind: "start"; readonly workspace: Workspace; readonly mode: NetworkMode; readonly version: string }
  | { readonly kind: "apply"; readonly id: number; readonly workspace: Workspace }
  | { readonly kind: "shutdown"; readonly cut: boolean };

export interface NodeFailure {
  readonly code: string;
  readonly message: string;
  readonly next?: string;
}

export type FromNode =
  | { readonly kind: "event"; readonly event: SystemEvent }
  | { readonly kind: "failed"; readonly failure: NodeFailure }
  | { readonly kind: "applied"; readonly id: number; readonly changed: readonly string[]; readonly failure?: NodeFailure }
  | { readonly kind: "ended"; readonly cut: readonly string[] };
