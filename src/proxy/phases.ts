import type { Closeness } from "../balancer/closeness.ts";
import type { Random } from "../balancer/order.ts";
import type { Limits } from "../config/model.ts";
import type { Clock } from "../core/clock.ts";
import type { ErrorCode } from "../core/errors.ts";
import type { NetworkId, RegionCode } from "../core/ids.ts";
import type { Result } from "../core/result.ts";
import type { MachinePool } from "../machines/pool.ts";
import type { Caller } from "../network/caller.ts";
import type { RegistryView } from "../registry/view.ts";
import type { Budget, GiveBack } from "./budget.ts";
import type { Connection, Handler, Settlement } from "./context.ts";
import type { Crowding } from "./crowding.ts";
import type { Trusts } from "./handlers/inbound-proxy.ts";
import type { Tracker } from "./tracker.ts";

/** What the proxy needs of a logger; pino's fits. */
export interface Log {
  debug(details: object, message: string): void;
  info(details: object, message: string): void;
  warn(details: object, message: string): void;
  error(details: object, message: string): void;
}

/** What every phase may ask for. Made once, by `proxy.ts`. */
export interface Phases {
  readonly view: RegistryView;
  readonly pool: MachinePool;
  readonly clock: Clock;
  readonly random: Random;
  readonly closeness: Closeness;
  readonly region: RegionCode;
  readonly log: Log;
  /** The limits in force now: a reload replaces them. */
  readonly limits: () => Limits;
  readonly identify: (address: string, port: number) => Caller;
  readonly onSettled: (settlement: Settlement) => void;
  /** From the budget: a network may have so many TLS handshakes going on. */
  readonly startHandshake: (network: NetworkId) => Result<GiveBack, ErrorCode>;
  /** Resolves when the network may begin something again that costs us more than its client. Undefined: now. */
  readonly turn: (network: NetworkId) => Promise<void> | undefined;
}

/** What the life of a connection needs beyond that. */
export interface ConnectionPhases extends Phases {
  readonly budget: Budget;
  readonly tracker: Tracker;
  readonly crowding: Pick<Crowding, "came">;
  readonly trusts: Trusts;
  /** choose → wake → connect → forward → settle, as the port's handlers ask. */
  readonly handlerFor: (connection: Connection) => Handler;
}
