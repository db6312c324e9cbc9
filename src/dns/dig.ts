/** What `flycast dig` does: one question to one server, and the answer as people and programs read it. */
import { randomBytes } from "node:crypto";
import { createSocket } from "node:dgram";
import { connect, isIPv6 } from "node:net";
import { AppError } from "../core/errors.ts";
import { CLASS_IN, FLAG, TYPE } from "./codec.ts";
import { UDP_SIZE } from "./encode.ts";
import { typeNumber } from "./labels.ts";
import { readMessage, type TextMessage } from "./message-text.ts";
import { askOverTcp } from "./upstream-tcp.ts";
import { canonicalHost } from "./upstream.ts";

export interface DigOptions {
  /** `host` is an IP address. */
  readonly server: { readonly host: string; readonly port: number };
  readonly name: string;
  /** Name of a record type, or `TYPE123`. @default AAAA */
  readonly type?: string;
  /** Over TCP from the start. @default false: UDP, and TCP when the answer was cut */
  readonly tcp?: boolean;
  /** Milliseconds in all. @default 5000 */
  readonly timeout?: number;
}

export interface DigAnswer extends TextMessage {
  readonly server: { readonly host: string; readonly port: number };
  readonly transport: "udp" | "tcp";
  /** Milliseconds from question to answer. */
  readonly took: number;
  /** Bytes. */
  readonly size: number;
}

/** The arguments of the command, in any order: NAME, TYPE (flyctl takes it first, `dig` last) and @SERVER[:PORT]. */
export function digArguments(args: readonly string[]): {
  readonly name: string | undefined;
  readonly type: string | undefined;
  readonly server: string | undefined;
} {
  const server = args.find((arg) => arg.startsWith("@"))?.slice(1);
  const [first, second] = args.filter((arg) => !arg.startsWith("@"));
  // A lone word is a name, even if a type is called so.
  const typeFirst = second !== undefined && first !== undefined && typeNumber(first) !== undefined;
  return typeFirst ? { name: second, type: first, server } : { name: first, type: second, server };
}

/**
 * Asks once. RD is off for names under `.internal` and on for all others, as flyctl has it.
 * @errors invalid (name or type that are none), timeout, node_unreachable
 */
export async function dig(options: DigOptions): Promise<DigAnswer> {
  const { server } = options;
  const started = performance.now();
  const message = question(options.name, options.type ?? "AAAA");
  const signal = AbortSignal.timeout(options.timeout ?? 5000);
  let transport: "udp" | "tcp" = options.tcp === true ? "tcp" : "udp";
  let answer = transport === "tcp" ? await overTcp(server, message, signal) : await overUdp(server, message, signal);
  if (transport === "udp" && (answer.readUInt16BE(2) & FLAG.TRUNCATED) !== 0) {
    transport = "tcp";
    answer = await overTcp(server, message, signal);
  }
  const text = readMessage(answer);
  if (text === undefined || text.id !== message.readUInt16BE(0)) {
    throw new AppError("invalid", `${server.host} port ${server.port} does not speak DNS`);
  }
  const took = Math.round(performance.now() - started);
  return { ...text, server, transport, took, size: answer.length };
}

function question(name: string, type: string): Buffer {
  const number = typeNumber(type);
  if (number === undefined) throw new AppError("invalid", `don't understand DNS type ${type}`);
  const labels = name === "." ? [] : name.replace(/\.$/, "").split(".");
  const encoded = labels.map((label) => Buffer.from(label));
  const size = encoded.reduce((sum, label) => sum + label.length + 1, 1);
  if (size > 255 || encoded.some((label) => label.length < 1 || label.length > 63)) {
    throw new AppError("invalid", `"${name}" is not a domain name`);
  }
  const out = Buffer.alloc(12 + size + 4 + 11);
  randomBytes(2).copy(out);
  out.writeUInt16BE(/(^|\.)internal\.?$/i.test(name) ? 0 : FLAG.RECURSION_DESIRED, 2);
  out.writeUInt16BE(1, 4);
  out.writeUInt16BE(1, 10);
  let offset = 12;
  for (const label of encoded) {
    out[offset] = label.length;
    label.copy(out, offset + 1);
    offset += label.length + 1;
  }
  out.writeUInt16BE(number, offset + 1);
  out.writeUInt16BE(CLASS_IN, offset + 3);
  out.writeUInt16BE(TYPE.OPT, offset + 6);
  out.writeUInt16BE(UDP_SIZE, offset + 8);
  return out;
}

function unanswered(server: DigOptions["server"], signal: AbortSignal, cause?: unknown): AppError {
  const where = `${server.host} port ${server.port}`;
  if (signal.aborted) return new AppError("timeout", `${where} did not answer`);
  const reason = cause instanceof Error ? `: ${cause.message}` : "";
  return new AppError("node_unreachable", `cannot ask ${where}${reason}`, { cause });
}

function overUdp(server: DigOptions["server"], message: Buffer, signal: AbortSignal): Promise<Buffer> {
  const socket = createSocket(isIPv6(server.host) ? "udp6" : "udp4");
  return new Promise<Buffer>((resolve, reject) => {
    socket.on("error", (error) => reject(unanswered(server, signal, error)));
    signal.addEventListener("abort", () => reject(unanswered(server, signal)), { once: true });
    const expected = canonicalHost(server.host);
    socket.on("message", (answer, from) => {
      const genuine = canonicalHost(from.address) === expected && from.port === server.port;
      if (genuine && answer.length >= 12 && answer.readUInt16BE(0) === message.readUInt16BE(0)) resolve(answer);
    });
    // Connected, so that a closed port is an error at once and not a silence.
    socket.connect(server.port, server.host, () => socket.send(message));
  }).finally(() => socket.close());
}

async function overTcp(server: DigOptions["server"], message: Buffer, signal: AbortSignal): Promise<Buffer> {
  const dial = (host: string, port: number): Promise<ReturnType<typeof connect>> =>
    new Promise((resolve, reject) => {
      const socket = connect({ host, port, signal });
      socket.once("connect", () => resolve(socket));
      socket.once("error", reject);
    });
  try {
    const answer = await askOverTcp({ dial }, server, message, signal);
    if (answer.length < 12) throw new Error("the answer is no DNS message");
    return answer;
  } catch (error) {
    throw unanswered(server, signal, error);
  }
}
