/** What an upstream resolver said: checked against what it was asked, and fitted to each asker. Values in, values out. */
import { FLAG, HEADER, RCODE, TYPE, readQuestion, readRecord, type Query, type RawRecord } from "./codec.ts";
import { UDP_SIZE, encodeReply } from "./encode.ts";

export interface UpstreamAnswer {
  readonly message: Buffer;
  readonly rcode: number;
  readonly truncated: boolean;
  readonly questionEnd: number;
  /** Offset after each record of the answer section, in order. */
  readonly answerEnds: readonly number[];
  /** Offsets of every TTL, which shrinks while the answer is kept. OPT has none. */
  readonly ttlOffsets: readonly number[];
  /** OPT and its place, where there is one. */
  readonly opt: { readonly start: number; readonly record: RawRecord } | undefined;
  /** How long it may be kept, in seconds; 0: not at all. */
  readonly lifetime: number;
}

/** Nobody keeps a record longer than this, whatever its owner says. Seconds. */
const MAX_LIFETIME = 3600;
const CARRIED = FLAG.RECURSION_DESIRED | FLAG.AUTHENTIC | FLAG.CHECKING_DISABLED;
const OPT_HEAD = 11;

/**
 * The query to send upstream for an asker's: same question and case, same RD, AD, CD and DO, and none of its EDNS
 * options, which are between the asker and us (cookies, NSID, client subnet).
 */
export function upstreamQuery(message: Buffer, query: Query, id: number): Buffer {
  const opt = query.edns === undefined ? 0 : OPT_HEAD;
  const out = Buffer.alloc(query.questionEnd + opt);
  message.copy(out, HEADER, HEADER, query.questionEnd);
  out.writeUInt16BE(id, 0);
  out.writeUInt16BE(query.flags & CARRIED, 2);
  out.writeUInt16BE(1, 4);
  if (query.edns === undefined) return out;
  out.writeUInt16BE(1, 10);
  out.writeUInt16BE(TYPE.OPT, query.questionEnd + 1);
  out.writeUInt16BE(UDP_SIZE, query.questionEnd + 3);
  out.writeUInt32BE(query.edns.dnssecOk ? 0x8000 : 0, query.questionEnd + 5);
  return out;
}

/** Questions with the same key may share one answer. */
export function sharedKey(query: Query): string {
  const edns = query.edns === undefined ? "-" : query.edns.dnssecOk ? "d" : "e";
  return `${query.type} ${query.klass} ${query.flags & CARRIED} ${edns} ${query.key}`;
}

/** Reads an answer. Undefined: malformed, or an answer to something else (id, question, opcode). */
export function parseAnswer(message: Buffer, id: number, query: Query): UpstreamAnswer | undefined {
  if (message.length < HEADER || message.readUInt16BE(0) !== id || message.readUInt16BE(4) !== 1) return undefined;
  const flags = message.readUInt16BE(2);
  if ((flags & FLAG.RESPONSE) === 0 || (flags & 0x7800) !== 0) return undefined;
  const question = readQuestion(message);
  if (question === undefined || question.key !== query.key) return undefined;
  if (question.type !== query.type || question.klass !== query.klass) return undefined;

  const answers = message.readUInt16BE(6);
  const authority = message.readUInt16BE(8);
  const total = answers + authority + message.readUInt16BE(10);
  const truncated = (flags & FLAG.TRUNCATED) !== 0;
  const answerEnds: number[] = [];
  const ttlOffsets: number[] = [];
  let opt: UpstreamAnswer["opt"];
  let lifetime = MAX_LIFETIME;
  let negativeLifetime = 0;
  let offset = question.end;
  for (let i = 0; i < total; i++) {
    const record = readRecord(message, offset);
    if (record === undefined) {
      // Some servers cut a truncated message anywhere; what is whole still counts.
      if (truncated) break;
      return undefined;
    }
    if (record.type === TYPE.OPT) {
      opt = { start: offset, record };
    } else {
      // RFC 2181, 8: a TTL with the top bit set counts as 0.
      const ttl = record.ttl > 0x7fff_ffff ? 0 : record.ttl;
      lifetime = Math.min(lifetime, ttl);
      ttlOffsets.push(record.ttlOffset);
      if (i >= answers && i < answers + authority && record.type === TYPE.SOA && record.end - record.dataOffset >= 22) {
        negativeLifetime = Math.min(ttl, message.readUInt32BE(record.end - 4));
      }
    }
    offset = record.end;
    if (i < answers) answerEnds.push(offset);
  }
  const rcode = flags & 0xf;
  const extended = opt === undefined ? 0 : opt.record.ttl >>> 24;
  // RFC 2308, 5: without a SOA there is no time for which a negative answer holds.
  if (answers === 0 || rcode === RCODE.NXDOMAIN) lifetime = Math.min(lifetime, negativeLifetime);
  if (truncated || extended !== 0 || (rcode !== RCODE.NOERROR && rcode !== RCODE.NXDOMAIN)) lifetime = 0;
  return { message, rcode, truncated, questionEnd: question.end, answerEnds, ttlOffsets, opt, lifetime };
}

/** Whether another upstream might do better. */
export function isFailure(answer: UpstreamAnswer): boolean {
  return answer.rcode !== RCODE.NOERROR && answer.rcode !== RCODE.NXDOMAIN;
}

/** The answer for one asker: its id, its spelling of the question, TTLs less `age` seconds, at most `limit` bytes. */
export function fitAnswer(answer: UpstreamAnswer, message: Buffer, query: Query, age: number, limit: number): Buffer {
  const dropOpt = query.edns === undefined && answer.opt !== undefined && endsWithOpt(answer);
  const size = dropOpt ? (answer.opt?.start ?? 0) : answer.message.length;
  if (size > limit) return cutAnswer(answer, message, query, age, limit);
  const out = Buffer.from(answer.message.subarray(0, size));
  personalise(out, answer, message, query, age);
  if (dropOpt) out.writeUInt16BE(out.readUInt16BE(10) - 1, 10);
  else if (answer.opt !== undefined) out.writeUInt16BE(UDP_SIZE, answer.opt.record.ttlOffset - 2);
  return out;
}

function endsWithOpt(answer: UpstreamAnswer): boolean {
  return answer.opt !== undefined && answer.opt.record.end === answer.message.length;
}

function personalise(out: Buffer, answer: UpstreamAnswer, message: Buffer, query: Query, age: number): void {
  message.copy(out, 0, 0, 2);
  // The keys are equal, so the questions have the same length and differ at most in case.
  message.copy(out, HEADER, HEADER, query.questionEnd);
  const kept = out.readUInt16BE(2) & ~(FLAG.RECURSION_DESIRED | FLAG.CHECKING_DISABLED);
  const asked = query.flags & (FLAG.RECURSION_DESIRED | FLAG.CHECKING_DISABLED);
  out.writeUInt16BE(kept | asked | FLAG.RECURSION_AVAILABLE, 2);
  if (age <= 0) return;
  for (const offset of answer.ttlOffsets) {
    if (offset + 4 <= out.length) out.writeUInt32BE(Math.max(0, out.readUInt32BE(offset) - age), offset);
  }
}

/** As many records of the answer section as fit, whole, with TC set. Records point only backwards, so a prefix stands. */
function cutAnswer(answer: UpstreamAnswer, message: Buffer, query: Query, age: number, limit: number): Buffer {
  const opt = query.edns === undefined ? 0 : OPT_HEAD;
  let count = 0;
  let end = answer.questionEnd;
  for (const next of answer.answerEnds) {
    if (next + opt > limit) break;
    end = next;
    count++;
  }
  const body = Buffer.from(answer.message.subarray(0, end));
  personalise(body, answer, message, query, age);
  body.writeUInt16BE(body.readUInt16BE(2) | FLAG.TRUNCATED, 2);
  body.writeUInt16BE(count, 6);
  body.writeUInt16BE(0, 8);
  body.writeUInt16BE(opt === 0 ? 0 : 1, 10);
  if (opt === 0) return body;
  const empty = { rcode: answer.rcode, authoritative: false, answers: [], authority: [] };
  return Buffer.concat([body, encodeReply(message, query, empty, limit).subarray(query.questionEnd)]);
}
