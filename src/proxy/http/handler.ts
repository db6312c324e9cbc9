/** The `http` handler: serves a client connection with HTTP/1.1 or HTTP/2. */
import type { Socket } from "node:net";
import type { Limits } from "../../config/model.ts";
import type { Clock } from "../../core/clock.ts";
import { AppError } from "../../core/errors.ts";
import type { RegionCode } from "../../core/ids.ts";
import type { RegistryView } from "../../registry/view.ts";
import type { Connection, Handler, Reach, Settlement } from "../context.ts";
import type { AccessLine } from "./access-log.ts";
import type { HttpContext } from "./context.ts";
import { DateLine } from "./date-line.ts";
import type { FlySrcSigner } from "./fly-src.ts";
import { Http2Connection } from "./h2-downstream.ts";
import { UpstreamSessions } from "./h2-upstream.ts";
import { HeadParser } from "./head.ts";
import { ReplayCache } from "./replay-cache.ts";
import { Http1Connection } from "./relay.ts";
import { type ClientFacts, clientFacts } from "./request-head.ts";
import { RequestIds } from "./request-id.ts";
import { RetainedBytes } from "./retained-body.ts";
import { Sweeper } from "./sweeper.ts";
import { newTraceparent } from "./trace.ts";
import { UpstreamPool } from "./upstream-pool.ts";
import { UpstreamSource } from "./upstream-source.ts";

export interface HttpHandlerOptions {
  readonly reach: Reach;
  readonly view: RegistryView;
  /** A function where they may change while the node runs. */
  readonly limits: Limits | (() => Limits);
  readonly clock: Clock;
  /** Random bytes: `crypto.randomBytes`. */
  readonly random: (size: number) => Uint8Array;
  /** Region of this node. */
  readonly region: RegionCode;
  /** Undefined: no Fly-Src. */
  readonly signer: FlySrcSigner | undefined;
  /** Whether requests without a `traceparent` get one. Default: they do not. */
  readonly trace?: () => boolean;
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
  const given = options.limits;
  const limits = typeof given === "function" ? given : () => given;
  const sweeper = new Sweeper(options.clock);
  const parser = new HeadParser();
  const newTrace = (): string => newTraceparent(options.random);
  const context: HttpContext = {
    reach: options.reach,
    view: options.view,
    get limits() {
      return limits();
    },
    clock: options.clock,
    region: options.region,
    signer: options.signer,
    get trace() {
      return options.trace?.() === true ? newTrace : undefined;
    },
    onSettled: options.onSettled,
    onAccess: options.onAccess,
    parser,
    sweeper,
    upstreams: new UpstreamSource(
      new UpstreamPool(options.clock, parser, sweeper),
      new UpstreamSessions(options.clock, sweeper),
    ),
    date: new DateLine(options.clock),
    ids: new RequestIds(options.clock, options.random, options.region),
    replays: new ReplayCache(options.clock),
    retained: new RetainedBytes(limits),
  };
  const open = new Set<Http1Connection | Http2Connection>();
  let draining = false;

  function serve(connection: Connection, socket: Socket, already: Buffer | undefined): Promise<void> {
    const facts = (httpVersion: "1.1" | "2"): ClientFacts =>
      clientFacts({
        client: (connection.reported ?? connection.caller).address,
        destination: connection.destination.address,
        port: connection.destination.port,
        secure: connection.tls !== undefined,
        region: options.region,
        httpVersion,
      });
    if (!socket.destroyed) socket.setNoDelay(true);

    async function track(served: Http1Connection | Http2Connection): Promise<void> {
      open.add(served);
      if (draining) served.drain();
      await served.done;
      open.delete(served);
    }
    function serveHttp2(bytes: Buffer | undefined): Promise<void> {
      // Paused, so that nothing is read between here and the session, which takes what is buffered first.
      socket.pause();
      if (bytes !== undefined && bytes.length > 0) socket.unshift(bytes);
      return track(new Http2Connection(context, connection, facts("2"), socket));
    }

    if (connection.tls?.alpn === "h2") return serveHttp2(already);
    let http2: Promise<void> | undefined;
    const served = new Http1Connection(context, connection, facts("1.1"), socket, (bytes) => {
      http2 = serveHttp2(bytes);
    });
    const done = track(served);
    if (already !== undefined && already.length > 0) served.feed(already);
    return done.then(() => http2);
  }

  return {
    serve,
    shed: (count) => context.upstreams.shed(count),
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
      context.upstreams.close();
      sweeper.close();
    },
  };
}
