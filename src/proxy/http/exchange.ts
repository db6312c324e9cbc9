/**
 * One request from the end of its head to the last byte of its response: claim, connect, send, hand the answer on,
 * settle. The client's side is a `Downstream`, whatever version of HTTP it speaks.
 */
import type { Socket } from "node:net";
import { AppError, toAppError } from "../../core/errors.ts";
import type { AppName, MachineId } from "../../core/ids.ts";
import type { Result } from "../../core/result.ts";
import type { Monotonic } from "../../core/units.ts";
import type { Claim } from "../../machines/pool.ts";
import type { PortRoute } from "../../registry/view.ts";
import type { Connection, Wishes, Work } from "../context.ts";
import { Compressor, type Encoding, encodingFor } from "./compress.ts";
import type { HttpContext } from "./context.ts";
import { statusOf } from "./error-response.ts";
import { CHUNKED, type Framing } from "./framing.ts";
import type { HeadParser } from "./head.ts";
import type { ReplayInstruction } from "./replay-instruction.ts";
import { isInstruction, ReplayState } from "./replay-state.ts";
import type { ClientFacts, RequestHead } from "./request-head.ts";
import { RetainedBody } from "./retained-body.ts";
import { type ResponseSink, type Upstream, UpstreamConnection, type UpstreamOrigin } from "./upstream.ts";

/** The client's side of an exchange. Calls come in the order of the response; at most one of `fail`, last `write`. */
export interface Downstream {
  readonly protocol: "HTTP/1.0" | "HTTP/1.1" | "HTTP/2";
  /** Wants data without chunk framing. */
  readonly decodes: boolean;
  inform(head: HeadParser): void;
  switchProtocols(head: HeadParser): void;
  /** Returns false when the response should pause until `exchange.resumeResponse`. */
  respond(head: HeadParser, framing: Framing, body: Buffer | undefined, done: boolean, trailers: string): boolean;
  /** `trailers`: lines with CR LF, at the end of a body that was decoded. */
  write(chunk: Buffer, done: boolean, trailers: string): boolean;
  /** The Machine ended its side of a switched connection. */
  endWrites(): void;
  /** No response, or none any more. */
  fail(error: AppError): void;
  pauseRequest(): void;
  resumeRequest(): void;
}

/** Tries to find a Machine that can be reached before giving up (reference §2.2). */
const MAX_ATTEMPTS = 90;
const POOLED_MS = 4000;
/** What may not be sent twice never goes out on a connection that the Machine may just be closing. */
const POOLED_ONCE_MS = 1000;

const IDEMPOTENT: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]);

const NO_BODY: readonly Buffer[] = [];

export class Exchange implements Work, ResponseSink {
  // Work
  readonly connection: Connection;
  readonly app: AppName;
  readonly route: PortRoute;
  readonly kind = "request";
  readonly wake = true;
  readonly since: Monotonic;
  readonly wishes: Wishes;

  /** As it goes out now: a replay may have changed it. */
  request: RequestHead;
  readonly requestId: string;
  status: number | undefined;

  readonly #context: HttpContext;
  readonly #downstream: Downstream;
  /** Lines that the connection adds to each request: the caller's signature, our request id. */
  readonly #lines: string;
  readonly #facts: ClientFacts;
  /** What is asked for now: this exchange, or a replay of it. */
  #work: Work = this;
  #replay: ReplayState | undefined;
  #compressor: Compressor | undefined;
  #excluded: Set<MachineId> | undefined;
  #abort: AbortController | undefined;
  #settled = false;
  #claim: Claim | undefined;
  #machine: MachineId | undefined;
  #upstream: Upstream | undefined;
  #attempts = 0;
  #bodyDone: boolean;
  #requestTrailers = "";
  readonly #retained: RetainedBody;
  #responding = false;
  #switched = false;
  #upstreamEnded = false;
  #downstreamEnded = false;
  #bytesIn = 0;
  #bytesOut = 0;

  constructor(
    context: HttpContext,
    downstream: Downstream,
    connection: Connection,
    request: RequestHead,
    from: {
      readonly route: PortRoute;
      readonly facts: ClientFacts;
      readonly requestId: string;
      readonly lines: string;
      readonly since: Monotonic;
    },
  ) {
    this.#context = context;
    this.#downstream = downstream;
    this.connection = connection;
    this.app = connection.app;
    this.route = from.route;
    this.since = from.since;
    this.wishes = request.wishes;
    this.request = request;
    this.requestId = from.requestId;
    this.#lines = from.lines;
    this.#facts = from.facts;
    this.#bodyDone = request.framing === 0;
    this.#retained = new RetainedBody(context.retained, connection.network);
  }

  get excluded(): Set<MachineId> {
    return (this.#excluded ??= new Set());
  }

  /** Made when somebody asks: most requests are served without waiting, and a controller costs more than a parse. */
  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (this.#settled) this.#abort.abort(new AppError("FP10"));
    }
    return this.#abort.signal;
  }

  /** Whether all of the request has been handed over. */
  get requestComplete(): boolean {
    return this.#bodyDone;
  }

  get responding(): boolean {
    return this.#responding;
  }

  get settled(): boolean {
    return this.#settled;
  }

  start(): void {
    if (!this.#context.replays.isEmpty) {
      const replay = new ReplayState(this.#context);
      const work = replay.planFromCache(this, this.request, this.route.port.httpOptions.replayCache);
      this.#replay = replay;
      if (work !== undefined) this.#work = work;
    }
    this.#try();
  }

  /**
   * A part of the request's body, in the framing in which it goes on; or bytes of a switched connection. `trailers`: lines
   * with CR LF, at the end of a body that was decoded.
   */
  send(chunk: Buffer, done: boolean, trailers = ""): void {
    if (done) {
      this.#bodyDone = true;
      this.#requestTrailers = trailers;
    }
    if (chunk.length === 0 && !done) return;
    this.#bytesIn += chunk.length;
    const upstream = this.#upstream;
    this.#retained.add(chunk, upstream !== undefined);
    if (upstream === undefined) {
      if (this.#retained.size >= this.#context.limits.holdBuffer) this.#downstream.pauseRequest();
      return;
    }
    if (this.#claim !== undefined) this.#claim.lastByte = this.#context.clock.now();
    if (!upstream.send(chunk, done, trailers)) this.#downstream.pauseRequest();
  }

  /** The client ended its side of a switched connection. */
  endSends(): void {
    this.#downstreamEnded = true;
    this.#upstream?.endSends();
    this.#settleTunnel();
  }

  resumeResponse(): void {
    if (this.#compressor === undefined) this.#upstream?.resume();
    else this.#compressor.resume();
  }

  /** The client has gone, or the connection is being cut. */
  abort(error: AppError): void {
    this.#compressor?.destroy();
    if (this.#settled) return;
    this.#upstream?.destroy();
    this.#settle(error);
    this.#abort?.abort(error);
  }

  onInformational(head: HeadParser): void {
    this.#onAnswer();
    this.#downstream.inform(head);
  }

  onSwitch(head: HeadParser): void {
    this.#onAnswer();
    this.#switched = true;
    this.#responding = true;
    this.#retained.drop();
    this.status = 101;
    this.#downstream.switchProtocols(head);
  }

  decodes(head: HeadParser): boolean {
    return this.#downstream.decodes || isInstruction(head) === "json" || this.#encoding(head, CHUNKED) !== undefined;
  }

  onResponse(head: HeadParser, framing: Framing, body: Buffer | undefined, done: boolean): void {
    this.#onAnswer();
    if (isInstruction(head) !== undefined) {
      this.#replay ??= new ReplayState(this.#context);
      return this.#onInstruction(this.#replay.read(head, body, done), done);
    }
    this.#responding = true;
    this.#retained.drop();
    this.status = head.status;
    if (body !== undefined) this.#bytesOut += body.length;
    const trailers = done ? (this.#upstream?.trailers ?? "") : "";
    // Settled first: when the client reads the last byte, the Machine is free.
    if (done) this.#finish();
    const encoding = this.#encoding(head, framing);
    if (encoding !== undefined) {
      const compressor = new Compressor(this.#downstream, encoding, framing, () => this.#upstream?.resume());
      this.#compressor = compressor;
      if (!compressor.respond(head, encoding, body, done, trailers) && !done) this.#upstream?.pause();
      return;
    }
    if (!this.#downstream.respond(head, framing, body, done, trailers) && !done) this.#upstream?.pause();
  }

  onBody(chunk: Buffer, done: boolean): void {
    this.#touch();
    const trailers = done ? (this.#upstream?.trailers ?? "") : "";
    if (this.#replay?.reading === true) return this.#onInstruction(this.#replay.readMore(chunk, done), done);
    this.#bytesOut += chunk.length;
    if (done) this.#finish();
    const to = this.#compressor ?? this.#downstream;
    if (!to.write(chunk, done, trailers) && !done) this.#upstream?.pause();
  }

  onUpstreamEnd(): void {
    this.#upstreamEnded = true;
    this.#downstream.endWrites();
    this.#settleTunnel();
  }

  onUpstreamDrain(): void {
    this.#downstream.resumeRequest();
  }

  onUpstreamFailure(error: AppError): void {
    const upstream = this.#upstream;
    this.#upstream = undefined;
    if (this.#settled) return;
    const claim = this.#claim;
    // Only this is sure not to have been processed, or harmless if it was: a Machine closes idle connections when it likes.
    if (
      upstream !== undefined &&
      claim !== undefined &&
      upstream.served > 0 &&
      !upstream.answered &&
      this.#retained.chunks !== undefined &&
      IDEMPOTENT.has(this.request.method)
    ) {
      return this.#connect(claim);
    }
    this.#fail(error);
  }

  #try(): void {
    let outcome: Claim | Promise<Claim>;
    try {
      outcome = this.#context.reach.claim(this.#work);
    } catch (error) {
      return this.#failUnreached(toAppError(error));
    }
    if (outcome instanceof Promise) {
      outcome.then(
        (claim) => this.#onClaim(claim),
        (error: unknown) => this.#failUnreached(toAppError(error)),
      );
    } else this.#onClaim(outcome);
  }

  #onClaim(claim: Claim): void {
    if (this.#settled) return claim.release();
    this.#claim = claim;
    this.#machine = claim.machine;
    if (this.#work.route.port.httpOptions.h2Backend) {
      const stream = this.#pools ? this.#context.sessions.take(this.#originOf(claim)) : undefined;
      if (stream !== undefined) return this.#attach(stream);
    } else if (this.#pools) {
      const maxIdle = IDEMPOTENT.has(this.request.method) ? POOLED_MS : POOLED_ONCE_MS;
      const { machine, generation } = claim;
      const pooled = this.#context.pool.take(machine, this.#work.route.service.internalPort, generation, maxIdle);
      if (pooled !== undefined) return this.#attach(pooled);
    }
    this.#connect(claim);
  }

  #connect(claim: Claim): void {
    this.#context.reach.connect(this.#work, claim).then(
      (socket) => this.#onConnected(claim, socket),
      (error: unknown) => this.#onConnectFailed(toAppError(error)),
    );
  }

  #onConnected(claim: Claim, socket: Socket): void {
    if (this.#settled) {
      socket.destroy();
      return;
    }
    socket.setNoDelay(true);
    const origin = this.#originOf(claim);
    this.#attach(
      this.#work.route.port.httpOptions.h2Backend
        ? this.#context.sessions.open(socket, origin, this.#pools)
        : this.#context.pool.open(socket, origin),
    );
  }

  #originOf(claim: Claim): UpstreamOrigin {
    return { machine: claim.machine, service: this.#work.route.service.internalPort, generation: claim.generation };
  }

  #onConnectFailed(error: AppError): void {
    this.#claim = undefined; // released by whoever dialled
    if (this.#settled) return;
    if (error.retry === "unsent" && ++this.#attempts < MAX_ATTEMPTS && !this.#work.signal.aborted) this.#try();
    else this.#failUnreached(error);
  }

  #attach(upstream: Upstream): void {
    this.#upstream = upstream;
    this.#replay?.reached();
    const { request } = this;
    upstream.begin(this, {
      toHead: request.method === "HEAD",
      mayUpgrade: request.upgrade !== undefined,
    });
    const head = this.#requestText();
    this.#bytesIn += head.length;
    const flowing = upstream.sendHead(head, this.#retained.chunks ?? NO_BODY, this.#bodyDone, this.#requestTrailers);
    this.#touch();
    if (flowing) this.#downstream.resumeRequest();
    else this.#downstream.pauseRequest();
  }

  /** A connection that began with a PROXY header speaks for one client only. */
  get #pools(): boolean {
    return (
      this.#work.route.service.concurrency.type === "requests" && !this.#work.route.port.handlers.has("proxy_proto")
    );
  }

  #requestText(): string {
    const { request } = this;
    const { wishes } = this.#work;
    let text = request.text + this.#lines;
    if (this.#replay !== undefined) text += this.#replay.lines;
    if (wishes.preferMachine !== undefined && wishes.preferMachine !== this.#machine) {
      text += `Fly-Preferred-Instance-Unavailable: ${wishes.preferMachine}\r\n`;
    }
    if (request.upgrade !== undefined) return `${text}Connection: Upgrade\r\n\r\n`;
    return this.#pools ? `${text}\r\n` : `${text}Connection: close\r\n\r\n`;
  }

  #encoding(head: HeadParser, framing: Framing): Encoding | undefined {
    return this.route.port.httpOptions.compress ? encodingFor(this.request, head, framing) : undefined;
  }

  #touch(): void {
    if (this.#claim !== undefined) this.#claim.lastByte = this.#context.clock.now();
  }

  /** The first bytes of an answer, be it only a 1xx. */
  #onAnswer(): void {
    if (this.#claim === undefined) return;
    this.#touch();
    this.#context.reach.firstByte(this.#claim);
  }

  #finish(): void {
    this.#letGo(true);
    this.#settle(undefined);
  }

  /** Gives the connection to the Machine back, or closes it. */
  #letGo(done: boolean): void {
    const upstream = this.#upstream;
    this.#upstream = undefined;
    if (upstream === undefined) return;
    if (!done || !this.#bodyDone || this.request.upgrade !== undefined) upstream.destroy();
    else if (!(upstream instanceof UpstreamConnection)) upstream.destroy();
    else if (!this.#pools) this.#context.pool.linger(upstream);
    else if (upstream.reusable) this.#context.pool.put(upstream);
    else upstream.destroy();
  }

  // Replays.

  #onInstruction(read: Result<ReplayInstruction, AppError> | undefined, done: boolean): void {
    const replay = this.#replay;
    const machine = this.#machine;
    if (read === undefined || replay === undefined || machine === undefined) return; // more of it must come
    this.#letGo(done);
    this.#claim?.release();
    this.#claim = undefined;
    if (!read.ok) return this.#fail(read.error);
    if (this.#retained.chunks === undefined) return this.#fail(new AppError("PA01"));
    const answered = { work: this.#work, machine };
    const next = replay.plan(read.value, answered, this.request, this.#facts, this.signal);
    if (!next.ok) return this.#fail(next.error);
    this.request = next.value.request;
    this.#startAs(next.value.work);
  }

  #startAs(work: Work): void {
    this.#work = work;
    this.#attempts = 0;
    this.#machine = undefined;
    this.#try();
  }

  #failUnreached(error: AppError): void {
    const back = this.#settled ? undefined : this.#replay?.fallBack(error, this.#work, this.signal);
    if (back === undefined) this.#fail(error);
    else this.#startAs(back);
  }

  #settleTunnel(): void {
    if (!this.#switched || !this.#upstreamEnded || !this.#downstreamEnded) return;
    this.#upstream = undefined; // both directions have ended: the sockets close by themselves
    this.#settle(undefined);
  }

  #fail(error: AppError): void {
    if (this.#settled) return;
    this.#compressor?.destroy();
    this.status ??= statusOf(error.code);
    this.#settle(error);
    this.#downstream.fail(error);
  }

  #settle(error: AppError | undefined): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#retained.drop();
    this.#replay?.close();
    this.#claim?.release();
    this.#claim = undefined;
    this.#context.onSettled({
      work: this.#work,
      machine: this.#machine,
      error,
      code: error?.code,
      bytesIn: this.#bytesIn,
      bytesOut: this.#bytesOut,
      status: this.status,
    });
    this.#context.onAccess?.({
      app: this.#work.app,
      machine: this.#machine,
      client: (this.connection.reported ?? this.connection.caller).address,
      method: this.request.method,
      target: this.request.target,
      host: this.request.host,
      protocol: this.#downstream.protocol,
      requestId: this.requestId,
      status: this.status,
      code: error?.code,
      bytesIn: this.#bytesIn,
      bytesOut: this.#bytesOut,
      duration: this.#context.clock.now() - this.since,
    });
  }
}
