/** The replays of one request: reads the apps' instructions, and says what is asked for next. */
import type { ReplayCacheRule } from "../../config/model.ts";
import type { Timer } from "../../core/clock.ts";
import { AppError } from "../../core/errors.ts";
import type { AppName, MachineId } from "../../core/ids.ts";
import { err, ok, type Result } from "../../core/result.ts";
import type { Monotonic } from "../../core/units.ts";
import type { Work } from "../context.ts";
import type { HttpContext } from "./context.ts";
import type { HeadParser } from "./head.ts";
import { NAME } from "./known-names.ts";
import {
  MAX_REPLAY_JSON,
  parseCacheHeaders,
  parseReplayHeader,
  parseReplayJson,
  REPLAY_CONTENT_TYPE,
  type ReplayInstruction,
} from "./replay-instruction.ts";
import { type CachedReplay, fieldOf } from "./replay-cache.ts";
import { MAX_REPLAYS, replayFailed, replaySource, replayTarget, ReplayWork, transformed } from "./replay.ts";
import type { ClientFacts, RequestHead } from "./request-head.ts";

/** What to do next: this work, with this head. */
export interface NextAttempt {
  readonly work: Work;
  readonly request: RequestHead;
}

interface Fallback {
  readonly how: "force_self" | "prefer_self";
  readonly work: Work;
  readonly machine: MachineId;
  readonly region: string;
  readonly at: Monotonic;
}

const EMPTY = Buffer.alloc(0);
const NO_CACHE_INSTRUCTION = { prefix: undefined, ttl: undefined, invalidate: false, allowBypass: false };

/** Whether a response is an instruction to replay, and in which form. Cheap for those that are none. */
export function isInstruction(head: HeadParser): "header" | "json" | undefined {
  if (!head.has(NAME.fly) && !head.has(NAME["content-type"])) return undefined;
  for (let i = 0; i < head.count; i++) {
    const kind = head.kinds[i];
    if (kind === NAME.fly && head.name(i) === "fly-replay") return "header";
    if (kind === NAME["content-type"] && head.value(i).toLowerCase().startsWith(REPLAY_CONTENT_TYPE)) return "json";
  }
  return undefined;
}

export class ReplayState {
  /** Lines for the Machine: where the request comes from, or why it came back. */
  lines = "";
  readonly #context: HttpContext;
  #count = 0;
  #json: Buffer[] | undefined;
  #fallback: Fallback | undefined;
  /** It came back once: it may not be replayed again. */
  #failed = false;
  #timer: Timer | undefined;
  #cached: CachedReplay | undefined;
  #origin: Work | undefined;
  #status: "bypass" | undefined;

  constructor(context: HttpContext) {
    this.#context = context;
  }

  /** Whether body bytes are a part of an instruction. */
  get reading(): boolean {
    return this.#json !== undefined;
  }

  /** Reads an instruction; undefined when more of its body must come. */
  read(head: HeadParser, body: Buffer | undefined, done: boolean): Result<ReplayInstruction, AppError> | undefined {
    const fields = new Map<string, string>();
    for (let i = 0; i < head.count; i++) if (head.kinds[i] === NAME.fly) fields.set(head.name(i), head.value(i));
    const header = fields.get("fly-replay");
    if (header !== undefined) {
      const parsed = parseReplayHeader(header);
      return asError(parsed.ok ? ok({ ...parsed.value, cache: parseCacheHeaders(fields) }) : parsed);
    }
    this.#json = [];
    return this.readMore(body ?? EMPTY, done);
  }

  readMore(chunk: Buffer, done: boolean): Result<ReplayInstruction, AppError> | undefined {
    const parts = this.#json ?? [];
    parts.push(chunk);
    const size = parts.reduce((sum, part) => sum + part.length, 0);
    if (!done && size <= MAX_REPLAY_JSON) return undefined;
    this.#json = undefined;
    if (size > MAX_REPLAY_JSON) return err(new AppError("PA03", "the instruction is too large"));
    return asError(parseReplayJson(Buffer.concat(parts).toString("utf8")));
  }

  /** Where a request goes that an app allowed to be replayed without being asked. Undefined: to the app itself. */
  planFromCache(work: Work, request: RequestHead, rules: readonly ReplayCacheRule[]): Work | undefined {
    const { replays, view } = this.#context;
    const cached = replays.find(work.app, request, rules);
    if (cached === undefined) return undefined;
    if (cached.allowBypass && fieldOf(request.raw, "fly-replay-cache-control") === "skip") {
      this.#status = "bypass";
      return undefined;
    }
    const target = replayTarget(view, cached.instruction, cached.answered, work);
    if (!target.ok) {
      replays.remove(cached.key);
      return undefined;
    }
    this.#cached = cached;
    this.#origin = work;
    this.lines = "fly-replay-cache-status: hit\r\n";
    return this.#work(work, { ...target.value, signal: work.signal });
  }

  /** Where the request goes now. `signal`: of the whole exchange. */
  plan(
    instruction: ReplayInstruction,
    answered: { readonly work: Work; readonly machine: MachineId },
    request: RequestHead,
    facts: ClientFacts,
    signal: AbortSignal,
  ): Result<NextAttempt, AppError> {
    const { clock, view } = this.#context;
    const { work, machine } = answered;
    if (this.#failed) return err(new AppError("PA03", "a replay that fell back was replayed again"));
    if (++this.#count > MAX_REPLAYS) return err(new AppError("PA02"));
    const target = replayTarget(view, instruction, { app: work.app, machine }, work);
    if (!target.ok) return target;
    const changed =
      instruction.transform === undefined ? ok(request) : transformed(request, instruction.transform, facts);
    if (!changed.ok) return changed;
    const region = view.machine(machine)?.region ?? this.#context.region;
    const status = this.#remember(instruction, { app: work.app, machine }, request, work);
    this.lines = replaySource({ machine, region, micros: Math.floor(clock.wall() * 1000), state: instruction.state });
    if (status !== undefined) this.lines += `fly-replay-cache-status: ${status}\r\n`;
    this.#fallback =
      instruction.fallback === undefined
        ? undefined
        : { how: instruction.fallback, work, machine, region, at: clock.now() };
    let bounded = signal;
    if (instruction.timeout !== undefined) {
      const timeout = new AbortController();
      this.#timer = clock.after(instruction.timeout, () => timeout.abort(new AppError("PC05", "the replay timed out")));
      bounded = AbortSignal.any([signal, timeout.signal]);
    }
    return ok({ work: this.#work(work, { ...target.value, signal: bounded }), request: changed.value });
  }

  /** A Machine was reached: the instruction's `timeout` has done its duty. */
  reached(): void {
    this.#timer?.cancel();
  }

  /** No Machine could be reached: the app that asked for the replay may have said that it would rather have it back. */
  fallBack(error: AppError, failed: Work, signal: AbortSignal): Work | undefined {
    const fallback = this.#fallback;
    this.#timer?.cancel();
    if (this.#cached !== undefined && this.#origin !== undefined && this.#count === 0) {
      // What was remembered is of no use any more: the app is asked again.
      this.#context.replays.remove(this.#cached.key);
      this.lines = "";
      this.#cached = undefined;
      return this.#work(this.#origin, {
        app: this.#origin.app,
        route: this.#origin.route,
        wishes: this.#origin.wishes,
        signal,
      });
    }
    if (fallback === undefined) return undefined;
    this.#fallback = undefined;
    this.#failed = true;
    const { work, machine } = fallback;
    this.lines = replayFailed({
      machine,
      app: work.app,
      region: fallback.region,
      source: failed.app,
      reason: failed.signal.aborted ? "timeout" : error.code === "PR01" ? "no_candidate" : "retries_exhausted",
      elapsed: this.#context.clock.now() - fallback.at,
    });
    const wishes = fallback.how === "force_self" ? { forceMachine: machine } : { preferMachine: machine };
    return this.#work(work, { app: work.app, route: work.route, wishes, signal });
  }

  #remember(
    instruction: ReplayInstruction,
    answered: { readonly app: AppName; readonly machine: MachineId },
    request: RequestHead,
    work: Work,
  ): "miss" | "bypass" | undefined {
    const cached = this.#cached;
    if (cached !== undefined) {
      // One step only: what a remembered target answers is not remembered again.
      if (instruction.cache?.invalidate === true) this.#context.replays.remove(cached.key);
      return undefined;
    }
    if (this.#count > 1) return undefined;
    const rules = work.route.port.httpOptions.replayCache;
    if (instruction.cache === undefined && rules.length === 0) return undefined;
    const cache = instruction.cache ?? NO_CACHE_INSTRUCTION;
    const stored = this.#context.replays.store(instruction, cache, answered, request, rules);
    return this.#status ?? (stored ? "miss" : undefined);
  }

  close(): void {
    this.#timer?.cancel();
  }

  #work(from: Work, to: Pick<Work, "app" | "route" | "wishes" | "signal">): Work {
    return new ReplayWork({ ...to, connection: from.connection, since: this.#context.clock.now() });
  }
}

function asError(parsed: Result<ReplayInstruction, string>): Result<ReplayInstruction, AppError> {
  return parsed.ok ? parsed : err(new AppError("PA03", parsed.error));
}
