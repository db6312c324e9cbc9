import type { AppName, MachineId } from "../core/ids.ts";
import type { Milliseconds, Monotonic, WallTime } from "../core/units.ts";

/**
 * What one wake cost. Times are milliseconds after `accepted`, taken from the events themselves; undefined: it did not
 * come to that (no checks, a client that left, a Machine that speaks only when spoken to).
 */
export interface Receipt {
  readonly machine: MachineId;
  readonly app: AppName;
  readonly generation: number;
  /** Who woke it: `connection from [fdaa:…]:51234`. */
  readonly by: string;
  /** Accept of the connection, or end of the request's head, that woke it. */
  readonly accepted: WallTime;
  /** Claims that waited for it, the first included. */
  readonly waiters: number;
  /** A frozen Machine went on, instead of one that booted. */
  readonly resumed: boolean;
  /** When the start began: routing, choosing and queueing lie before it. */
  readonly claimed: Milliseconds;
  readonly driverStarted: Milliseconds | undefined;
  readonly checkPassed: Milliseconds | undefined;
  readonly portOpen: Milliseconds | undefined;
  readonly firstByte: Milliseconds | undefined;
  /** From the driver's answer to the last thing that is known of the wake: the app's own time. */
  readonly appShare: Milliseconds | undefined;
  /** All before the driver's answer: Flycast's time. */
  readonly ownShare: Milliseconds | undefined;
}

/** Collects the times of one wake. The first report of each counts. */
export class WakeReceipt {
  readonly #head: Pick<Receipt, "machine" | "app" | "generation" | "by" | "accepted" | "resumed" | "claimed">;
  readonly #accepted: Monotonic;
  #waiters = 1;
  #driverStarted: Milliseconds | undefined;
  #checkPassed: Milliseconds | undefined;
  #portOpen: Milliseconds | undefined;
  #firstByte: Milliseconds | undefined;

  constructor(
    head: Pick<Receipt, "machine" | "app" | "generation" | "by" | "resumed">,
    times: { readonly accepted: Monotonic; readonly now: Monotonic; readonly wall: WallTime },
  ) {
    this.#accepted = times.accepted;
    const claimed = this.#since(times.now);
    this.#head = { ...head, claimed, accepted: (times.wall - claimed) as WallTime };
  }

  joined(): void {
    this.#waiters++;
  }

  driverStarted(now: Monotonic): void {
    this.#driverStarted ??= this.#since(now);
  }

  checkPassed(now: Monotonic): void {
    this.#checkPassed ??= this.#since(now);
  }

  portOpen(now: Monotonic): void {
    this.#portOpen ??= this.#since(now);
  }

  firstByte(now: Monotonic): void {
    this.#firstByte ??= this.#since(now);
  }

  read(): Receipt {
    const last = this.#firstByte ?? this.#portOpen ?? this.#checkPassed;
    const started = this.#driverStarted;
    return {
      ...this.#head,
      waiters: this.#waiters,
      driverStarted: started,
      checkPassed: this.#checkPassed,
      portOpen: this.#portOpen,
      firstByte: this.#firstByte,
      appShare: started === undefined || last === undefined ? undefined : ((last - started) as Milliseconds),
      ownShare: started,
    };
  }

  #since(now: Monotonic): Milliseconds {
    return Math.max(0, now - this.#accepted) as Milliseconds;
  }
}
