import type { Limits } from "../../config/model.ts";
import type { Clock } from "../../core/clock.ts";
import type { RegionCode } from "../../core/ids.ts";
import type { RegistryView } from "../../registry/view.ts";
import type { Reach, Settlement } from "../context.ts";
import type { AccessLine } from "./access-log.ts";
import type { DateLine } from "./date-line.ts";
import type { FlySrcSigner } from "./fly-src.ts";
import type { HeadParser } from "./head.ts";
import type { ReplayCache } from "./replay-cache.ts";
import type { RequestIds } from "./request-id.ts";
import type { RetainedBytes } from "./retained-body.ts";
import type { Sweeper } from "./sweeper.ts";
import type { UpstreamSource } from "./upstream-source.ts";

/** What all connections of one handler share. */
export interface HttpContext {
  readonly reach: Reach;
  readonly view: RegistryView;
  readonly limits: Limits;
  readonly clock: Clock;
  /** Region of this node: the edge that accepted the connection. */
  readonly region: RegionCode;
  readonly signer: FlySrcSigner | undefined;
  /** A fresh `traceparent` line with CR LF for a request that has none; undefined when that is not wanted. */
  readonly trace: (() => string) | undefined;
  readonly onSettled: (settlement: Settlement) => void;
  readonly onAccess: ((line: AccessLine) => void) | undefined;
  readonly parser: HeadParser;
  readonly upstreams: UpstreamSource;
  readonly sweeper: Sweeper;
  readonly ids: RequestIds;
  readonly date: DateLine;
  readonly retained: RetainedBytes;
  readonly replays: ReplayCache;
}
