import type { SystemEvent } from "../api/events.ts";
import type { Workspace } from "../config/model.ts";
import type { AppStatus } from "../api/status.ts";
import type { Milliseconds } from "../core/units.ts";

/** What the outer process tells the node, and what the node answers; encoded by `wire.ts` between processes. */
export type ToNode =
  | {
      readonly kind: "start";
      readonly workspace: Workspace;
      readonly nftables: boolean;
      readonly prettyLog: boolean;
      /** Text of /etc/resolv.conf as the outer process reads it. */
      readonly resolvConf: string;
      readonly version: string;
    }
  | { readonly kind: "apply"; readonly id: number; readonly workspace: Workspace }
  | { readonly kind: "shutdown"; readonly cut: boolean; readonly within?: Milliseconds };

export interface NodeFailure {
  readonly code: string;
  readonly message: string;
  readonly next?: string;
}

export type FromNode =
  /** `apps`: with `ready`, for the table. */
  | { readonly kind: "event"; readonly event: SystemEvent; readonly apps?: readonly AppStatus[] }
  | { readonly kind: "failed"; readonly failure: NodeFailure }
  | {
      readonly kind: "applied";
      readonly id: number;
      readonly changed: readonly string[];
      readonly failure?: NodeFailure;
    }
  | { readonly kind: "ended"; readonly cut: readonly string[] };
