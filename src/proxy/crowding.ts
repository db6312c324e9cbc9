import type { Clock, Timer } from "../core/clock.ts";
import type { NetworkId } from "../core/ids.ts";
import { seconds, type Monotonic } from "../core/units.ts";

/** Long enough to tell a flood from a page that opens a dozen connections, short enough that few notice it. */
const WINDOW_MS = 100;
/** Above this share of a window in which the event loop did not rest, new connections wait for each other. */
const BUSY = 0.75;
/** What a crowd may take of the event loop from then on: the others' waits stay about what they were. */
const SHARE = 0.2;
/** So many a second are no crowd, whatever else keeps the event loop busy. */
const FEW = 250;
/** A crowd that comes once, such as the clients of a Machine that slept, is served as fast as we can: so many come free. */
const BURST = 2000;
/** So many of those that came free are forgotten in a second, and may come free again. */
const FORGOTTEN = 20;
/** Time in which what came before a throttle is worked off, before its effect can be judged. */
const SETTLING_MS = 2000;
/** For so long after others were last here a network is not alone. */
const COMPANY = seconds(60);

interface CrowdingOptions {
  readonly clock: Clock;
  /** The share of time, since it was last asked, in which the event loop did not rest: 0 to 1. */
  readonly utilization: () => number;
  /** Whether anybody but this network has connections open. */
  readonly hasCompany: (network: NetworkId) => boolean;
  /** Undefined: it cannot be done here. */
  readonly throttle: (network: NetworkId, perSecond: number) => Promise<void> | undefined;
  readonly unthrottle: (network: NetworkId) => Promise<void> | undefined;
  readonly onThrottled: (network: NetworkId, perSecond: number) => void;
  readonly onFailure: (thrown: unknown) => void;
}

/**
 * Notices that one network's new connections keep the event loop from everybody else, and has the kernel hold them back. By then
 * they stand before the others' in the kernel's own queue, where no order of ours helps (`turns.ts`). A network that is
 * alone is never held back, whatever it does. Nothing runs while nobody connects.
 */
export class Crowding {
  readonly #options: CrowdingOptions;
  readonly #came = new Map<NetworkId | "computer", number>();
  readonly #lastSeen = new Map<NetworkId | "computer", Monotonic>();
  /** Connections that came in crowds and are not forgotten yet. */
  readonly #spent = new Map<NetworkId, { readonly count: number; readonly at: Monotonic }>();
  readonly #throttled = new Map<NetworkId, Monotonic>();
  readonly #timers = new Map<NetworkId, Timer>();
  #begun: Monotonic;
  #total = 0;

  constructor(options: CrowdingOptions) {
    this.#options = options;
    this.#begun = options.clock.now();
  }

  /** Somebody connected: a network, or the computer itself through a published port, which the kernel cannot hold back. */
  came(who: NetworkId | "computer"): void {
    this.#total++;
    this.#came.set(who, (this.#came.get(who) ?? 0) + 1);
    const now = this.#options.clock.now();
    if (now - this.#begun >= WINDOW_MS) this.#look(now);
  }

  #look(now: Monotonic): void {
    const utilization = this.#options.utilization();
    const elapsed = now - this.#begun;
    let heaviest: NetworkId | "computer" = "computer";
    let most = 0;
    for (const [who, count] of this.#came) {
      this.#lastSeen.set(who, now);
      if (count <= most) continue;
      heaviest = who;
      most = count;
    }
    const total = this.#total;
    this.#begun = now;
    this.#total = 0;
    this.#came.clear();
    // The first window after a rest is longer, and says little.
    if (heaviest === "computer" || utilization < BUSY || 2 * most <= total || elapsed >= 10 * WINDOW_MS) return;
    const perSecond = Math.max(FEW, Math.floor((SHARE * 1000 * total) / (utilization * elapsed)));
    // Also true of one that is throttled already.
    if ((1000 * most) / elapsed < 1.2 * perSecond || !this.#hasCompany(heaviest, now)) return;
    if (this.#spend(heaviest, most, now) > BURST) this.#throttle(heaviest, perSecond, now);
  }

  #spend(network: NetworkId, count: number, now: Monotonic): number {
    const before = this.#spent.get(network);
    const left = before === undefined ? 0 : Math.max(0, before.count - (FORGOTTEN * (now - before.at)) / 1000);
    // More than twice the burst would be held against it for longer than it is worth.
    const spent = Math.min(2 * BURST, left + count);
    this.#spent.set(network, { count: spent, at: now });
    return spent;
  }

  #hasCompany(network: NetworkId, now: Monotonic): boolean {
    for (const [who, seen] of this.#lastSeen) {
      if (now - seen >= COMPANY) this.#lastSeen.delete(who);
      else if (who !== network) return true;
    }
    return this.#options.hasCompany(network);
  }

  #throttle(network: NetworkId, perSecond: number, now: Monotonic): void {
    const since = this.#throttled.get(network);
    if (since !== undefined && now - since < SETTLING_MS) return;
    const done = this.#options.throttle(network, perSecond);
    if (done === undefined) return;
    done.catch(this.#options.onFailure);
    this.#throttled.set(network, now);
    if (since !== undefined) return;
    this.#options.onThrottled(network, perSecond);
    this.#watch(network);
  }

  /** Whom the others have left is alone, and free. */
  #watch(network: NetworkId): void {
    const { clock, unthrottle, onFailure } = this.#options;
    const timer = clock.after(COMPANY, () => {
      if (this.#hasCompany(network, clock.now())) return this.#watch(network);
      this.#timers.delete(network);
      this.#throttled.delete(network);
      unthrottle(network)?.catch(onFailure);
    });
    this.#timers.set(network, timer);
  }

  close(): void {
    for (const timer of this.#timers.values()) timer.cancel();
  }
}
