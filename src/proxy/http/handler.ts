/** The `http` handler: serves a client connection with HTTP/1.1. */
import type { Socket } from "node:net";
import type { Limits } from "../../config/model.ts";
import type { Clock } from "../../core/clock.ts";
import { AppError } from "../../core/errors.ts";
import type { RegionCode } from "../../core/ids.ts";
import type { RegistryView } from "../../registry/view.ts";
import type { Connection, Handler, Reach, Settlement } from "../context.ts";
import type { AccessLine } from "./access-log.ts";
import type { HttpContext } from "./context.ts";
import type { FlySrcSigner } from "./fly-src.ts";
import { HeadParser } from "./head.ts";
import { Http1Connection } from "./relay.ts";
import { clientFacts } from "./request-head.ts";
import { RequestIds } from "./request-id.ts";
import { RetainedBytes } from "./retained-bytes.ts";
import { Sweeper } from "./sweeper.ts";
import { UpstreamPool } from "./upstream-pool.ts";

export interface HttpHandlerOptions {
  readonly reach: Reach;
  readonly view: RegistryView;
  readonly limits: Limits;
  readonly clock: Clock;
  /** Random bytes: `crypto.randomBytes`. */
  readonly random: (size: number) => Uint8Array;
  /** Region of this node. */
  readonly region: RegionCode;
  /** Undefined: no Fly-Src. */
  readonly signer: FlySrcSigner | undefined;
  /** Once for each request, and for each refusal of bytes that were none (then without `work`). */
  readonly onSettled: (settlement: Settlement) => void;
  /** Once for each request that reached an app's turn, when an access log is wanted. */
  readonly onAccess?: (line: AccessLine) => void;
  readonly log: { error(details: object, message: string): void };
}

export interface HttpHandler extends Handler {
  /** Finishes what is being served; resolves when no connection is left. Whoever calls bounds the time. */
  drain(): Promise<void>;
  /** Cuts everything (FP11) and stops all timers. */
  close(): Promise<void>;
}

export function createHttpHandler(options: HttpHandlerOptions): HttpHandler {
  const sweeper = new Sweeper(options.clock);
  const parser = new HeadParser();
  const context: HttpContext = {
    reach: options.reach,
    view: options.view,
    limits: options.limits,
    clock: options.clock,
    region: options.region,
    signer: options.signer,
    onSettled: options.onSettled,
    onAccess: options.onAccess,
    parser,
    sweeper,
    pool: new UpstreamPool(options.clock, parser, sweeper),
    ids: new RequestIds(options.clock, options.random, options.region),
    retained: new RetainedBytes(options.limits.replayMemory),
  };
  const open = new Set<Http1Connection>();
  let draining = false;

  function serve(connection: Connection, socket: Socket, already: Buffer | undefined): Promise<void> {
    const facts = clientFacts({
      client: (connection.reported ?? connection.caller).address,
      destination: connection.destination.address,
      port: connection.destination.port,
      secure: connection.tls !== undefined,
      region: options.region,
      httpVersion: "1.1",
    });
    socket.setNoDelay(true);
    const served = new Http1Connection(context, connection, facts, socket);
    open.add(served);
    if (already !== undefined && already.length > 0) served.feed(already);
    if (draining) served.drain();
    return served.done.finally(() => open.delete(served));
  }

  return {
    serve,
    async drain() {
      draining = true;
      await Promise.all(
        [...open].map((served) => {
          served.drain();
          return served.done;
        }),
      );
    },
    async close() {
      draining = true;
      const done = [...open].map((served) => served.done);
      for (const served of open) served.destroy(new AppError("FP11"));
      await Promise.all(done);
      context.pool.close();
      sweeper.close();
    },
  };
}
