import type { SystemEvent } from "../api/events.ts";
import type { RunningWorkspace } from "../api/running-workspace.ts";
import type { AppStatus } from "../api/status.ts";
import type { NodeConfig } from "../config/model.ts";
import type { Clock } from "../core/clock.ts";
import type { Caller } from "../network/caller.ts";
import type { Outside } from "../network/outside.ts";
import type { NetworkPlane } from "../network/plane.ts";
import type { openRegistry } from "../registry/open.ts";
import type { Logger } from "../telemetry/logging.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { Ending } from "./ending.ts";
import type { Standing } from "./standing.ts";

/** What every part of a node is made from. */
export interface Base {
  /** The node's settings as it started; those that change while it runs are in `workspace.current`. */
  readonly node: NodeConfig;
  readonly workspace: RunningWorkspace;
  readonly standing: Standing;
  readonly outside: Outside;
  readonly plane: NetworkPlane;
  readonly registry: Awaited<ReturnType<typeof openRegistry>>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly emit: (event: SystemEvent, apps?: readonly AppStatus[]) => void;
  /** Whoever makes something that must be ended says so here. */
  readonly ending: Ending;
  /** Who is behind a source address. */
  readonly whoIs: (address: string, port: number) => Caller;
}
