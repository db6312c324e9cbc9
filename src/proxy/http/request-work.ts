import { AppError } from "../../core/errors.ts";
import type { AppName, MachineId } from "../../core/ids.ts";
import type { Monotonic } from "../../core/units.ts";
import type { PortRoute } from "../../registry/view.ts";
import type { Connection, Wishes, Work } from "../context.ts";

/** A request as the phases see it. What most requests never need is made when somebody asks. */
export class RequestWork implements Work {
  readonly connection: Connection;
  readonly app: AppName;
  readonly route: PortRoute;
  readonly kind = "request";
  readonly wake = true;
  readonly since: Monotonic;
  readonly wishes: Wishes;
  #excluded: Set<MachineId> | undefined;
  #abort: AbortController | undefined;
  #ended = false;

  constructor(connection: Connection, route: PortRoute, since: Monotonic, wishes: Wishes) {
    this.connection = connection;
    this.app = connection.app;
    this.route = route;
    this.since = since;
    this.wishes = wishes;
  }

  get excluded(): Set<MachineId> {
    return (this.#excluded ??= new Set());
  }

  /** Most requests are served without waiting, and a controller costs more than a parse. */
  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (this.#ended) this.#abort.abort(new AppError("FP10"));
    }
    return this.#abort.signal;
  }

  get settled(): boolean {
    return this.#ended;
  }

  /** Nothing is wanted any more. */
  protected end(): void {
    this.#ended = true;
  }

  /** Tells whoever waits with it. */
  protected cancel(error: AppError): void {
    this.#abort?.abort(error);
  }
}
