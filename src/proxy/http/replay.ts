/** A request that is sent again, to where the app that answered it said: who may serve it, and what it looks like. */
import { AppError } from "../../core/errors.ts";
import type { AppName, MachineId } from "../../core/ids.ts";
import { err, ok, type Result } from "../../core/result.ts";
import type { Monotonic } from "../../core/units.ts";
import type { App } from "../../registry/model.ts";
import type { PortRoute, RegistryView } from "../../registry/view.ts";
import type { Connection, Wishes, Work } from "../context.ts";
import { HeadParser, INCOMPLETE, REFUSED } from "./head.ts";
import type { ReplayInstruction, ReplayTransform } from "./replay-instruction.ts";
import { type ClientFacts, isRefusal, readRequestHead, type RequestHead, withoutNominated } from "./request-head.ts";

/** Replays of one request (reference §4.4). */
export const MAX_REPLAYS = 10;

/** Work for one replay. The original request's work is the exchange itself. */
export class ReplayWork implements Work {
  readonly connection: Connection;
  readonly app: AppName;
  readonly route: PortRoute;
  readonly kind = "request";
  readonly wake = true;
  readonly since: Monotonic;
  readonly wishes: Wishes;
  readonly excluded = new Set<MachineId>();
  readonly signal: Work["signal"];

  constructor(from: Pick<Work, "connection" | "app" | "route" | "since" | "wishes" | "signal">) {
    this.connection = from.connection;
    this.app = from.app;
    this.route = from.route;
    this.since = from.since;
    this.wishes = from.wishes;
    this.signal = from.signal;
  }
}

export interface ReplayTarget {
  readonly app: AppName;
  readonly route: PortRoute;
  readonly wishes: Wishes;
}

/**
 * Where a replay goes. The permission is that of the app that answered: to apps of its own organisation and network, and to those that
 * name its network in `replay_from`.
 * @errors PA03 the instance belongs to another app, PA04 no such app, PA05 not allowed
 */
export function replayTarget(
  view: RegistryView,
  instruction: ReplayInstruction,
  answered: { readonly app: AppName; readonly machine: MachineId | undefined },
  work: Work,
): Result<ReplayTarget, AppError> {
  const target = instruction.app ?? answered.app;
  let route: PortRoute | undefined = target === work.app ? work.route : undefined;
  if (target !== answered.app) {
    const from = view.app(answered.app);
    const to = view.app(target);
    if (to === undefined) return err(new AppError("PA04"));
    if (from === undefined || !mayReplay(view, from, to)) {
      return err(
        new AppError("PA05", `"${answered.app}" may not replay to "${target}": its replay_from does not say so`),
      );
    }
  }
  route ??=
    view.route(target, work.route.port.start) ??
    view.routesOf(target).find((candidate) => candidate.port.handlers.has("http"));
  if (route === undefined) return err(new AppError("PA04", "the app to replay to has no HTTP service"));
  for (const id of [instruction.instance, instruction.preferInstance]) {
    if (id !== undefined && view.machine(id)?.app !== target && id === instruction.instance) {
      return err(new AppError("PA03", "the instance to replay to does not belong to the app"));
    }
  }
  const wishes: { -readonly [K in keyof Wishes]: Wishes[K] } = {};
  if (instruction.regions !== undefined) wishes.forceRegions = instruction.regions;
  if (instruction.instance !== undefined) wishes.forceMachine = instruction.instance;
  if (instruction.preferInstance !== undefined) wishes.preferMachine = instruction.preferInstance;
  if (instruction.elsewhere && answered.machine !== undefined) wishes.notMachine = answered.machine;
  return ok({ app: target, route, wishes });
}

function mayReplay(view: RegistryView, from: App, to: App): boolean {
  if (from.org === to.org && from.network === to.network) return true;
  return to.replayFrom?.some(({ org, network }) => view.networkNamed(org, network)?.id === from.network) === true;
}

/** `fly-replay-src`, a line with CR LF. `micros`: since the epoch. */
export function replaySource(from: {
  readonly machine: string;
  readonly region: string;
  readonly micros: number;
  readonly state: string | undefined;
}): string {
  const state = from.state === undefined ? "" : `;state=${from.state}`;
  return `fly-replay-src: instance=${from.machine};region=${from.region};t=${from.micros}${state}\r\n`;
}

/** `fly-replay-failed`, a line with CR LF: what the app that asked for the replay learns when it gets the request back. */
export function replayFailed(from: {
  readonly machine: string;
  readonly app: string;
  readonly region: string;
  readonly source: string;
  readonly reason: "timeout" | "retries_exhausted" | "no_candidate";
  readonly elapsed: number;
}): string {
  return (
    `fly-replay-failed: instance=${from.machine};app=${from.app};region=${from.region};replay_source=${from.source};` +
    `reason=${from.reason};elapsed_ms=${Math.round(from.elapsed)}\r\n`
  );
}

/**
 * The request as `transform` changes it: written as a client would have written it, and read by the same strict parser.
 * @errors PA03 when that refuses it, or when its body would be framed otherwise
 */
export function transformed(
  request: RequestHead,
  transform: ReplayTransform,
  facts: ClientFacts,
): Result<RequestHead, AppError> {
  const lineEnd = request.raw.indexOf("\r\n") + 2;
  const dropped = new Set([
    ...transform.deleteHeaders,
    ...transform.setHeaders.map((header) => header.name.toLowerCase()),
  ]);
  const path = transform.path ?? request.target;
  if (/[\r\n]/.test(path + transform.setHeaders.map((header) => header.name + header.value).join(""))) {
    return err(new AppError("PA03", "transform has line breaks"));
  }
  const head =
    `${request.method} ${path} HTTP/1.${request.minor}\r\n` +
    withoutNominated(request.raw.slice(lineEnd, -2), dropped) +
    transform.setHeaders.map((header) => `${header.name}: ${header.value}\r\n`).join("") +
    "\r\n";
  const bytes = Buffer.from(head, "latin1");
  // A parser of its own: the shared one holds the head of the response that is being read.
  const parser = new HeadParser();
  const end = parser.parseRequest(bytes, 0, bytes.length);
  if (end === INCOMPLETE || end === REFUSED || end !== bytes.length) {
    return err(new AppError("PA03", `transform: ${parser.reasonRefused}`));
  }
  const read = readRequestHead(parser, facts);
  if (isRefusal(read)) return err(new AppError("PA03", `transform: ${read.detail}`));
  if (read.framing !== request.framing) return err(new AppError("PA03", "transform changes the framing of the body"));
  return ok(read);
}
