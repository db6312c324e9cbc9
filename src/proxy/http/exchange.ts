/**
 * One request from the end of its head to the last byte of its response: claim, connect, send, hand the answer on,
 * settle. The client's side is a `Downstream`, whatever version of HTTP it speaks.
 */
import { AppError } from "../../core/errors.ts";
import type { MachineId } from "../../core/ids.ts";
import type { Result } from "../../core/result.ts";
import type { Monotonic } from "../../core/units.ts";
import type { Claim } from "../../machines/pool.ts";
import type { PortRoute } from "../../registry/view.ts";
import type { Connection, Settlement, Work } from "../context.ts";
import { accessLine } from "./access-log.ts";
import type { Encoding } from "./accept-encoding.ts";
import { Compressor, encodedHead, encodingFor } from "./compress.ts";
import type { HttpContext } from "./context.ts";
import type { Downstream } from "./downstream.ts";
import { statusOf } from "./error-response.ts";
import { CHUNKED, type Framing } from "./framing.ts";
import type { HeadParser } from "./head.ts";
import type { ReplayInstruction } from "./replay-instruction.ts";
import { isInstruction, ReplayState } from "./replay-state.ts";
import type { ClientFacts, RequestHead } from "./request-head.ts";
import { RequestWork } from "./request-work.ts";
import { RetainedBody } from "./retained-body.ts";
import { connectTo, seekMachine, type Seeker } from "./seek-machine.ts";
import type { ResponseSink, Upstream } from "./upstream.ts";
import { isKept } from "./upstream-source.ts";

const IDEMPOTENT: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]);

const NO_BODY: readonly Buffer[] = [];

export class Exchange extends RequestWork implements ResponseSink, Seeker {
  /** As it goes out now: a replay may have changed it. */
  request: RequestHead;
  readonly requestId: string;
  status: number | undefined;
  /** What is asked for now: this exchange, or a replay of it. */
  work: Work = this;
  attempts = 0;

  readonly #context: HttpContext;
  readonly #downstream: Downstream;
  /** Lines that the connection adds to each request: the caller's signature, our request id. */
  readonly #lines: string;
  readonly #facts: ClientFacts;
  #replay: ReplayState | undefined;
  #compressor: Compressor | undefined;
  #claim: Claim | undefined;
  #machine: MachineId | undefined;
  #upstream: Upstream | undefined;
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
    super(connection, from.route, from.since, request.wishes);
    this.#context = context;
    this.#downstream = downstream;
    this.request = request;
    this.requestId = from.requestId;
    this.#lines = from.lines;
    this.#facts = from.facts;
    this.#bodyDone = request.framing === 0;
    this.#retained = new RetainedBody(context.retained, connection.network);
  }

  /** Whether all of the request has been handed over. */
  get requestComplete(): boolean {
    return this.#bodyDone;
  }

  get responding(): boolean {
    return this.#responding;
  }

  start(): void {
    if (!this.#context.replays.isEmpty) {
      const replay = new ReplayState(this.#context);
      const work = replay.planFromCache(this, this.request, this.route.port.httpOptions.replayCache);
      this.#replay = replay;
      if (work !== undefined) this.work = work;
    }
    seekMachine(this.#context, this);
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
    if (this.settled) return;
    this.#upstream?.destroy();
    this.#settle(error);
    this.cancel(error);
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
    return (
      this.#downstream.decodes || isInstruction(head) === "json" || this.#compresses(this.#encoding(head, CHUNKED))
    );
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
    if (this.#compresses(encoding)) {
      const compressor = new Compressor(this.#downstream, encoding, framing, () => this.#upstream?.resume());
      this.#compressor = compressor;
      if (!compressor.respond(head, encoding, body, done, trailers) && !done) this.#upstream?.pause();
      return;
    }
    const changed = encoding === undefined ? head : encodedHead(head, encoding);
    if (!this.#downstream.respond(changed, framing, body, done, trailers) && !done) this.#upstream?.pause();
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
    if (this.settled) return;
    const claim = this.#claim;
    // Only this is sure not to have been processed, or harmless if it was: a Machine closes idle connections when it likes.
    if (
      upstream !== undefined &&
      claim !== undefined &&
      upstream.served > 0 &&
      !upstream.answered &&
      this.#retained.chunks !== undefined &&
      this.isRepeatable
    ) {
      return connectTo(this.#context, this, claim);
    }
    this.#fail(error);
  }

  get isRepeatable(): boolean {
    return IDEMPOTENT.has(this.request.method);
  }

  onClaim(claim: Claim | undefined): void {
    this.#claim = claim;
    if (claim !== undefined) this.#machine = claim.machine;
  }

  onReached(upstream: Upstream): void {
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

  #requestText(): string {
    const { request } = this;
    const { wishes } = this.work;
    let text = request.text + this.#lines;
    if (this.#replay !== undefined) text += this.#replay.lines;
    if (wishes.preferMachine !== undefined && wishes.preferMachine !== this.#machine) {
      text += `Fly-Preferred-Instance-Unavailable: ${wishes.preferMachine}\r\n`;
    }
    if (request.upgrade !== undefined) return `${text}Connection: Upgrade\r\n\r\n`;
    return isKept(this.work) ? `${text}\r\n` : `${text}Connection: close\r\n\r\n`;
  }

  #compresses(encoding: Encoding | "identity" | undefined): encoding is Encoding {
    return encoding !== undefined && encoding !== "identity" && this.request.method !== "HEAD";
  }

  #encoding(head: HeadParser, framing: Framing): Encoding | "identity" | undefined {
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
    else this.#context.upstreams.giveBack(this.work, upstream);
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
    const answered = { work: this.work, machine };
    const next = replay.plan(read.value, answered, this.request, this.#facts, this.signal);
    if (!next.ok) return this.#fail(next.error);
    this.request = next.value.request;
    this.#startAs(next.value.work);
  }

  #startAs(work: Work): void {
    this.work = work;
    this.attempts = 0;
    this.#machine = undefined;
    seekMachine(this.#context, this);
  }

  onUnreached(error: AppError): void {
    const back = this.settled ? undefined : this.#replay?.fallBack(error, this.work, this.signal);
    if (back === undefined) this.#fail(error);
    else this.#startAs(back);
  }

  #settleTunnel(): void {
    if (!this.#switched || !this.#upstreamEnded || !this.#downstreamEnded) return;
    this.#upstream = undefined; // both directions have ended: the sockets close by themselves
    this.#settle(undefined);
  }

  #fail(error: AppError): void {
    if (this.settled) return;
    this.#compressor?.destroy();
    this.status ??= statusOf(error.code);
    this.#settle(error);
    this.#downstream.fail(error);
  }

  #settle(error: AppError | undefined): void {
    if (this.settled) return;
    this.end();
    this.#retained.drop();
    this.#replay?.close();
    this.#claim?.release();
    this.#claim = undefined;
    const settlement: Settlement = {
      work: this.work,
      machine: this.#machine,
      error,
      code: error?.code,
      bytesIn: this.#bytesIn,
      bytesOut: this.#bytesOut,
      status: this.status,
    };
    this.#context.onSettled(settlement);
    if (this.#context.onAccess === undefined) return;
    this.#context.onAccess(accessLine(this, settlement, this.#downstream.protocol, this.#context.clock.now()));
  }
}
