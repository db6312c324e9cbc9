import type { Clock } from "../core/clock.ts";
import type { NetworkId } from "../core/ids.ts";
import type { RegistryView } from "../registry/view.ts";
import { CLASS_IN, RCODE, decodeQuery, type Query } from "./codec.ts";
import { EXTENDED_ERROR, encodeRejection, encodeReply, sizeLimit, type Reply } from "./encode.ts";
import { rememberBigNodes } from "./big-nodes.ts";
import type { Forwarded, Forwarder } from "./forwarder.ts";
import { rcodeName, typeLabel, type RcodeName, type TypeLabel } from "./labels.ts";
import { uint16From, type RandomBytes } from "./random.ts";
import { addressBytes, refusedType, respond } from "./respond.ts";
import { Shares } from "./shares.ts";
import { fitAnswer } from "./upstream-answer.ts";
import { lookUp, zoneOf, type Asker, type Closeness, type ZoneName } from "./zone.ts";

export type Transport = "udp" | "tcp";

/** One answered question, for metrics. Every field comes from a closed set. */
export interface QuerySeen {
  readonly type: TypeLabel;
  readonly rcode: RcodeName;
  /** Whose name was asked for: one of our zones, `outside`, or `none` when nothing was asked that could be read. */
  readonly view: ZoneName | "outside" | "none";
  readonly transport: Transport;
  readonly forwarded: boolean;
}

export interface ResolverOptions {
  readonly view: RegistryView;
  readonly closeness: Closeness;
  readonly forwarder: Forwarder;
  readonly clock: Clock;
  readonly random: RandomBytes;
  readonly onQuery: ((query: QuerySeen) => void) | undefined;
  readonly limits: ForwardLimits;
}

/** Forwarded questions under way at a time. What is over is SERVFAIL; answers that are known, ours above all, never count. */
export interface ForwardLimits {
  readonly total: number;
  readonly perNetwork: number;
  readonly perSource: number;
}

/**
 * Answers a message, whatever its bytes: with bytes, with a promise of them, or with nothing when it deserves none.
 * `asker` is undefined for a source that belongs to nobody, which is refused.
 */
export type Resolve = (
  message: Buffer,
  asker: Asker | undefined,
  source: string,
  transport: Transport,
) => Buffer | Promise<Buffer> | undefined;

const PROHIBITED: Reply = {
  rcode: RCODE.REFUSED,
  authoritative: false,
  answers: [],
  authority: [],
  why: { code: EXTENDED_ERROR.PROHIBITED, text: "flycast: this source may not ask here" },
};
const UNANSWERED: Reply = {
  rcode: RCODE.SERVFAIL,
  authoritative: false,
  answers: [],
  authority: [],
  why: { code: EXTENDED_ERROR.NO_REACHABLE_AUTHORITY, text: "flycast: no upstream resolver answered" },
};
const TOO_MANY: Reply = {
  rcode: RCODE.SERVFAIL,
  authoritative: false,
  answers: [],
  authority: [],
  why: { code: EXTENDED_ERROR.OTHER, text: "flycast: too many forwarded questions at once" },
};

const failure = (rcode: number): Reply => ({ rcode, authoritative: false, answers: [], authority: [] });

export function createResolver(options: ResolverOptions): Resolve {
  const { view, closeness, forwarder, onQuery } = options;
  const find = rememberBigNodes(options.clock, (asker, zone, key) => lookUp(view, asker, zone, key, closeness));
  const uint16 = uint16From(options.random);
  const pick = (below: number): number => uint16() % below;
  const addressData = addressBytes();
  const shares = new Shares<NetworkId>(options.limits);

  function seen(
    query: Query | undefined,
    rcode: number,
    where: QuerySeen["view"],
    transport: Transport,
    forwarded: boolean,
  ): void {
    const type = query === undefined ? "other" : typeLabel(query.type);
    onQuery?.({ type, rcode: rcodeName(rcode), view: where, transport, forwarded });
  }

  function forward(
    message: Buffer,
    query: Query,
    asker: Asker,
    source: string,
    transport: Transport,
  ): Buffer | Promise<Buffer> {
    const limit = sizeLimit(query.edns, transport);
    const finish = (forwarded: Forwarded | undefined): Buffer => {
      const out =
        forwarded === undefined
          ? encodeReply(message, query, UNANSWERED, limit)
          : fitAnswer(forwarded.answer, message, query, forwarded.age, limit);
      seen(query, forwarded?.answer.rcode ?? UNANSWERED.rcode, "outside", transport, true);
      return out;
    };
    const known = forwarder.known(query);
    if (known !== undefined) return finish(known);
    const share = shares.take(source, asker.network);
    if (share === undefined) {
      const out = encodeReply(message, query, TOO_MANY, limit);
      seen(query, TOO_MANY.rcode, "outside", transport, true);
      return out;
    }
    const asked = forwarder.ask(message, query);
    if (asked === undefined) {
      share.release();
      return finish(undefined);
    }
    return asked.then((forwarded) => {
      share.release();
      return finish(forwarded);
    });
  }

  return (message, asker, source, transport) => {
    const decoded = decodeQuery(message);
    if (decoded.kind === "drop") return undefined;
    if (decoded.kind === "reject") {
      const out = encodeRejection(message, decoded.rcode, decoded.edns);
      seen(undefined, decoded.rcode, "none", transport, false);
      return out;
    }
    const { query } = decoded;
    const limit = sizeLimit(query.edns, transport);
    const zone = zoneOf(query.key);
    const where = zone?.name ?? "outside";
    const refused = refusedType(query.type);
    let reply: Reply;
    if (asker === undefined) reply = PROHIBITED;
    else if (refused !== undefined) reply = failure(refused);
    // CHAOS and the like ask about the server, not about names.
    else if (query.klass !== CLASS_IN) reply = failure(RCODE.REFUSED);
    else if (zone === undefined || forwarder.excepts(query.key))
      return forward(message, query, asker, source, transport);
    else reply = respond(query, zone, find(asker, zone, query.key), pick, addressData);
    const out = encodeReply(message, query, reply, limit);
    seen(query, reply.rcode, where, transport, false);
    return out;
  };
}
