import { backoffDelay } from "../core/backoff.ts";
import type { AppError } from "../core/errors.ts";
import type { Monotonic, Port } from "../core/units.ts";
import type { Service } from "../config/model.ts";
import type { Endpoint } from "./pool.ts";
import { START_BACKOFF } from "./endings.ts";

/** One service of one Machine: what the path of a request has to know, in one small object. */
export class ServiceSlot {
  readonly port: Port;
  /** Claims, waiters included. */
  inFlight = 0;
  softLimit = Number.POSITIVE_INFINITY;
  hardLimit = Number.POSITIVE_INFINITY;
  autostart = false;
  /** It has checks, and one of them has not yet passed in this life: claims wait. */
  pending = false;
  /** A check fails. */
  unhealthy = false;
  /** The port answered in this life. */
  reached = false;
  /** Known while the Machine runs. */
  endpoint: Endpoint | undefined;
  /** After a wake that its port did not answer: no claims before this time. */
  retryAt = 0 as Monotonic;
  cause: AppError | undefined;
  #unanswered = 0;

  constructor(port: Port) {
    this.port = port;
  }

  /** Undefined: the service is gone; claims that it still has run out. */
  configure(service: Service | undefined): void {
    this.softLimit = service?.concurrency.softLimit ?? Number.POSITIVE_INFINITY;
    this.hardLimit = service === undefined ? 0 : (service.concurrency.hardLimit ?? Number.POSITIVE_INFINITY);
    this.autostart = service?.autostart ?? false;
  }

  /** A new life begins, or the old one is over. */
  reset(pending: boolean): void {
    this.pending = pending;
    this.unhealthy = false;
    this.reached = false;
    this.endpoint = undefined;
  }

  answered(): void {
    this.reached = true;
    this.#unanswered = 0;
    this.retryAt = 0 as Monotonic;
    this.cause = undefined;
    if (this.endpoint?.waking === true) this.endpoint = { ...this.endpoint, waking: false };
  }

  unanswered(error: AppError, now: Monotonic): void {
    this.#unanswered++;
    this.retryAt = (now + backoffDelay(START_BACKOFF, this.#unanswered)) as Monotonic;
    this.cause = error;
  }
}
