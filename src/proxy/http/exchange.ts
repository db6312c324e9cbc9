/**
 * One request from the end of its head to the last byte of its response: claim, connect, send, hand the answer on,
 * settle. The client's side is a `Downstream`, whatever version of HTTP it speaks.
 */
import type { Socket } from "node:net";
import { AppError, toAppError } from "../../core/errors.ts";
import type { AppName, MachineId } from "../../core/ids.ts";
import type { Timer } from "../../core/clock.ts";
import type { Result } from "../../core/result.ts";
import type { Monotonic } from "../../core/units.ts";
import type { Claim } from "../../machines/pool.ts";
import type { PortRoute } from "../../registry/view.ts";
import type { Connection, Wishes, Work } from "../context.ts";
import type { HttpContext } from "./context.ts";
import { statusOf } from "./error-response.ts";
import type { Framing } from "./framing.ts";
import type { HeadParser } from "./head.ts";
import { NAME } from "./known-names.ts";
import {
  MAX_REPLAY_JSON,
  parseReplayHeader,
  parseReplayJson,
  REPLAY_CONTENT_TYPE,
  type ReplayInstruction,
} from "./replay-instruction.ts";
import { MAX_REPLAYS, replayFailed, replaySource, replayTarget, ReplayWork, transformed } from "./replay.ts";
import type { ClientFacts, RequestHead } from "./request-head.ts";
import { type ResponseSink, type Upstream, UpstreamConnection, type UpstreamOrigin } from "./upstream.ts";

/** The client's side of an exchange. Calls come in the order of the response; at most one of `fail`, last `write`. */
export interface Downstream {
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
/** A body up to this size is kept until the response begins, so that the request can be sent again (reference §4.4: 1 MB). */
const MAX_RETAINED = 1_000_000;
const POOLED_MS = 4000;
/** What may not be sent twice never goes out on a connection that the Machine may just be closing. */
const POOLED_ONCE_MS = 1000;

const IDEMPOTENT: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]);

const EMPTY = Buffer.alloc(0);
const NO_BODY: readonly Buffer[] = [];
const HEADER = "header:";

/** The state of an exchange whose app answered with `fly-replay`. */
interface Replaying {
  count: number;
  /** Lines for the Machine: where it comes from, or why it came back. */
  lines: string;
  /** The instruction, while it comes as a body. */
  json: Buffer[] | undefined;
  fallback:
    | {
        readonly how: "force_self" | "prefer_self";
        readonly from: {
          readonly work: Work;
          readonly machine: MachineId;
          readonly region: string;
          readonly at: Monotonic;
        };
      }
    | undefined;
  /** It came back once: it may not be replayed again. */
  failed?: boolean;
  timer: Timer | undefined;
}

/** `json`, or `header:` and the instruction, when the response is one. */
function findInstruction(head: HeadParser): string | undefined {
  if (!head.has(NAME.fly) && !head.has(NAME["content-type"])) return undefined;
  for (let i = 0; i < head.count; i++) {
    const kind = head.kinds[i];
    if (kind === NAME.fly && head.name(i) === "fly-replay") return HEADER + head.value(i);
    if (kind === NAME["content-type"] && head.value(i).toLowerCase().startsWith(REPLAY_CONTENT_TYPE)) return "json";
  }
  return undefined;
}

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
  #replay: Replaying | undefined;
  #excluded: Set<MachineId> | undefined;
  #abort: AbortController | undefined;
  #settled = false;
  #claim: Claim | undefined;
  #machine: MachineId | undefined;
  #upstream: Upstream | undefined;
  #attempts = 0;
  #bodyDone: boolean;
  #retained: Buffer[] | undefined = [];
  #retainedBytes = 0;
  /** Of those, what was taken from the memory for replays. */
  #budgeted = 0;
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
    this.route = connection.route;
    this.since = from.since;
    this.wishes = request.wishes;
    this.request = request;
    this.requestId = from.requestId;
    this.#lines = from.lines;
    this.#facts = from.facts;
    this.#bodyDone = request.framing === 0;
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

  /** Bytes of the request's body that wait here because nothing takes them yet. */
  get held(): number {
    return this.#upstream === undefined ? this.#retainedBytes : 0;
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

  /** A part of the request's body, in the framing in which it goes on; or bytes of a switched connection. */
  send(chunk: Buffer, done: boolean): void {
    if (done) this.#bodyDone = true;
    if (chunk.length === 0 && !done) return;
    this.#bytesIn += chunk.length;
    const upstream = this.#upstream;
    if (this.#retained !== undefined) {
      this.#retainedBytes += chunk.length;
      // What waits for a Machine is bounded by the hold buffer instead: the client is paused.
      if (upstream !== undefined && !this.#mayRetain(chunk.length)) this.#dropRetained();
      else this.#retained.push(chunk);
    }
    if (upstream === undefined) {
      if (this.#retainedBytes >= this.#context.limits.holdBuffer) this.#downstream.pauseRequest();
      return;
    }
    if (this.#claim !== undefined) this.#claim.lastByte = this.#context.clock.now();
    if (!upstream.send(chunk, done)) this.#downstream.pauseRequest();
  }

  /** The client ended its side of a switched connection. */
  endSends(): void {
    this.#downstreamEnded = true;
    this.#upstream?.endSends();
    this.#settleTunnel();
  }

  resumeResponse(): void {
    this.#upstream?.resume();
  }

  /** The client has gone, or the connection is being cut. */
  abort(error: AppError): void {
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
    this.#dropRetained();
    this.status = 101;
    this.#downstream.switchProtocols(head);
  }

  decodes(head: HeadParser): boolean {
    return this.#downstream.decodes || findInstruction(head) === "json";
  }

  onResponse(head: HeadParser, framing: Framing, body: Buffer | undefined, done: boolean): void {
    this.#onAnswer();
    const instruction = findInstruction(head);
    if (instruction !== undefined) return this.#onInstruction(instruction, body, done);
    this.#responding = true;
    this.#dropRetained();
    this.status = head.status;
    if (body !== undefined) this.#bytesOut += body.length;
    const trailers = done ? (this.#upstream?.trailers ?? "") : "";
    // Settled first: when the client reads the last byte, the Machine is free.
    if (done) this.#finish();
    if (!this.#downstream.respond(head, framing, body, done, trailers) && !done) this.#upstream?.pause();
  }

  onBody(chunk: Buffer, done: boolean): void {
    this.#touch();
    const trailers = done ? (this.#upstream?.trailers ?? "") : "";
    if (this.#replay?.json !== undefined) return this.#onInstructionBody(this.#replay.json, chunk, done);
    this.#bytesOut += chunk.length;
    if (done) this.#finish();
    if (!this.#downstream.write(chunk, done, trailers) && !done) this.#upstream?.pause();
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
      this.#retained !== undefined &&
      IDEMPOTENT.has(this.request.method)
    ) {
      return this.#connect(claim);
    }
    this.#fail(error);
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
    if (error.retry === "unsent" && ++this.#attempts < MAX_ATTEMPTS && !this.#work.signal.aborted) this.start();
    else this.#failUnreached(error);
  }

  #attach(upstream: Upstream): void {
    this.#upstream = upstream;
    this.#replay?.timer?.cancel();
    const { request } = this;
    upstream.begin(this, {
      toHead: request.method === "HEAD",
      mayUpgrade: request.upgrade !== undefined,
    });
    const head = this.#requestText();
    this.#bytesIn += head.length;
    const flowing = upstream.sendHead(head, this.#retained ?? NO_BODY, this.#bodyDone);
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

  #onInstruction(found: string, body: Buffer | undefined, done: boolean): void {
    const replay = (this.#replay ??= { count: 0, lines: "", json: undefined, fallback: undefined, timer: undefined });
    if (found !== "json") {
      this.#letGo(done);
      return this.#replayAs(parseReplayHeader(found.slice(HEADER.length)));
    }
    replay.json = [];
    this.#onInstructionBody(replay.json, body ?? EMPTY, done);
  }

  #onInstructionBody(parts: Buffer[], chunk: Buffer, done: boolean): void {
    parts.push(chunk);
    const size = parts.reduce((sum, part) => sum + part.length, 0);
    if (!done && size <= MAX_REPLAY_JSON) return;
    if (this.#replay !== undefined) this.#replay.json = undefined;
    this.#letGo(done);
    if (size > MAX_REPLAY_JSON) return this.#fail(new AppError("PA03", "the instruction is too large"));
    this.#replayAs(parseReplayJson(Buffer.concat(parts).toString("utf8")));
  }

  #replayAs(parsed: Result<ReplayInstruction, string>): void {
    const replay = this.#replay;
    const machine = this.#machine;
    this.#claim?.release();
    this.#claim = undefined;
    if (replay === undefined || machine === undefined) return;
    if (!parsed.ok) return this.#fail(new AppError("PA03", parsed.error));
    const instruction = parsed.value;
    if (replay.failed === true) return this.#fail(new AppError("PA03", "a replay that fell back was replayed again"));
    if (++replay.count > MAX_REPLAYS) return this.#fail(new AppError("PA02"));
    if (this.#retained === undefined) return this.#fail(new AppError("PA01"));
    const answered = { app: this.#work.app, machine };
    const target = replayTarget(this.#context.view, instruction, answered, this.#work);
    if (!target.ok) return this.#fail(target.error);
    if (instruction.transform !== undefined) {
      const changed = transformed(this.request, instruction.transform, this.#facts);
      if (!changed.ok) return this.#fail(changed.error);
      this.request = changed.value;
    }
    const { clock, view } = this.#context;
    const region = view.machine(machine)?.region ?? this.#context.region;
    replay.lines = replaySource({ machine, region, micros: Math.floor(clock.wall() * 1000), state: instruction.state });
    const from = { work: this.#work, machine, region, at: clock.now() };
    replay.fallback = instruction.fallback === undefined ? undefined : { how: instruction.fallback, from };
    let { signal } = this;
    if (instruction.timeout !== undefined) {
      const timeout = new AbortController();
      replay.timer = clock.after(instruction.timeout, () =>
        timeout.abort(new AppError("PC05", "the replay timed out")),
      );
      signal = AbortSignal.any([signal, timeout.signal]);
    }
    this.#startAs({ ...target.value, signal });
  }

  #startAs(how: Pick<Work, "app" | "route" | "wishes" | "signal">): void {
    this.#work = new ReplayWork({ ...how, connection: this.connection, since: this.#context.clock.now() });
    this.#attempts = 0;
    this.#machine = undefined;
    this.start();
  }

  /** No Machine could be reached: the app that asked for a replay may have said that it would rather have it back. */
  #failUnreached(error: AppError): void {
    const fallback = this.#replay?.fallback;
    if (this.#settled || this.#replay === undefined || fallback === undefined) return this.#fail(error);
    const { from, how } = fallback;
    const replay = this.#replay;
    replay.fallback = undefined;
    replay.failed = true;
    replay.timer?.cancel();
    const timedOut = this.#work.signal.aborted;
    replay.lines = replayFailed({
      ...from,
      app: from.work.app,
      source: this.#work.app,
      reason: timedOut ? "timeout" : error.code === "PR01" ? "no_candidate" : "retries_exhausted",
      elapsed: this.#context.clock.now() - from.at,
    });
    const self = how === "force_self" ? { forceMachine: from.machine } : { preferMachine: from.machine };
    this.#startAs({ app: from.work.app, route: from.work.route, wishes: self, signal: this.signal });
  }

  #mayRetain(more: number): boolean {
    if (this.#retainedBytes > MAX_RETAINED) return false;
    if (!this.#context.retained.take(more)) return false;
    this.#budgeted += more;
    return true;
  }

  #dropRetained(): void {
    this.#retained = undefined;
    if (this.#budgeted > 0) this.#context.retained.giveBack(this.#budgeted);
    this.#budgeted = 0;
  }

  #settleTunnel(): void {
    if (!this.#switched || !this.#upstreamEnded || !this.#downstreamEnded) return;
    this.#upstream = undefined; // both directions have ended: the sockets close by themselves
    this.#settle(undefined);
  }

  #fail(error: AppError): void {
    if (this.#settled) return;
    this.status ??= statusOf(error.code);
    this.#settle(error);
    this.#downstream.fail(error);
  }

  #settle(error: AppError | undefined): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#dropRetained();
    this.#replay?.timer?.cancel();
    this.#claim?.release();
    this.#claim = undefined;
    const settlement = {
      work: this.#work,
      machine: this.#machine,
      error,
      code: error?.code,
      bytesIn: this.#bytesIn,
      bytesOut: this.#bytesOut,
      status: this.status,
    };
    this.#context.onSettled(settlement);
    this.#context.onAccess?.({
      ...settlement,
      requestId: this.requestId,
      method: this.request.method,
      target: this.request.target,
      host: this.request.host,
      protocol: this.request.minor === 0 ? "HTTP/1.0" : "HTTP/1.1",
      client: (this.connection.reported ?? this.connection.caller).address,
      duration: this.#context.clock.now() - this.since,
    });
  }
}
