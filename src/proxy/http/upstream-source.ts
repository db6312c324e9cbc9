/** Where an exchange gets its way to a Machine from, and where it goes afterwards: kept ones first, fresh ones else. */
import type { Socket } from "node:net";
import type { Claim } from "../../machines/pool.ts";
import type { Work } from "../context.ts";
import type { UpstreamSessions } from "./h2-upstream.ts";
import type { Upstream, UpstreamOrigin } from "./upstream.ts";
import { UpstreamConnection } from "./upstream-connection.ts";
import type { UpstreamPool } from "./upstream-pool.ts";

const POOLED_MS = 4000;
/** What may not be sent twice never goes out on a connection that the Machine may just be closing. */
const POOLED_ONCE_MS = 1000;

export class UpstreamSource {
  readonly #pool: UpstreamPool;
  readonly #sessions: UpstreamSessions;

  constructor(pool: UpstreamPool, sessions: UpstreamSessions) {
    this.#pool = pool;
    this.#sessions = sessions;
  }

  /** One that is there already. `repeatable`: the request may be sent again if it turns out that this one was closing. */
  take(work: Work, claim: Claim, repeatable: boolean): Upstream | undefined {
    if (!isKept(work)) return undefined;
    if (work.route.port.httpOptions.h2Backend) return this.#sessions.take(originOf(work, claim));
    const maxIdle = repeatable ? POOLED_MS : POOLED_ONCE_MS;
    return this.#pool.take(claim.machine, work.route.service.internalPort, claim.generation, maxIdle);
  }

  /** Over a connection that was just made. */
  open(work: Work, claim: Claim, socket: Socket): Upstream {
    socket.setNoDelay(true);
    const origin = originOf(work, claim);
    return work.route.port.httpOptions.h2Backend
      ? this.#sessions.open(socket, origin, isKept(work))
      : this.#pool.open(socket, origin);
  }

  /** After an exchange whose request and response were complete. */
  giveBack(work: Work, upstream: Upstream): void {
    if (!(upstream instanceof UpstreamConnection)) upstream.destroy();
    else if (!isKept(work)) this.#pool.linger(upstream);
    else if (upstream.reusable) this.#pool.put(upstream);
    else upstream.destroy();
  }

  /** Closes at most so many that nobody uses. Returns how many. */
  shed(count: number): number {
    const shed = this.#pool.shed(count);
    return shed < count ? shed + this.#sessions.shed(count - shed) : shed;
  }

  close(): void {
    this.#pool.close();
    this.#sessions.close();
  }
}

/**
 * Whether a connection serves further requests (reference §2.1: type `requests`). One that began with a PROXY header
 * speaks for one client only.
 */
export function isKept(work: Work): boolean {
  return work.route.service.concurrency.type === "requests" && !work.route.port.handlers.has("proxy_proto");
}

function originOf(work: Work, claim: Claim): UpstreamOrigin {
  return { machine: claim.machine, service: work.route.service.internalPort, generation: claim.generation };
}
