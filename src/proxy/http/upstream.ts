/** The faces between an exchange and what carries it to a Machine, whatever version of HTTP that speaks. */
import type { AppError } from "../../core/errors.ts";
import type { MachineId } from "../../core/ids.ts";
import type { Port } from "../../core/units.ts";
import type { Framing } from "./framing.ts";
import type { HeadParser } from "./head.ts";

/** Who waits for the response. Calls are synchronous and in order; the parser's head is valid during the call. */
export interface ResponseSink {
  /** Whether chunks of this response are handed on as data only. */
  decodes(head: HeadParser): boolean;
  /** A response below 200 that is not 101. */
  onInformational(head: HeadParser): void;
  /** 101. Whatever comes from now on is `onBody`. */
  onSwitch(head: HeadParser): void;
  /** `body`: what of it has come with the head. */
  onResponse(head: HeadParser, framing: Framing, body: Buffer | undefined, done: boolean): void;
  onBody(chunk: Buffer, done: boolean): void;
  /** The Machine ended its side of a switched connection. */
  onUpstreamEnd(): void;
  onUpstreamDrain(): void;
  /** The connection is of no use any more and the response is not complete. Called at most once. */
  onUpstreamFailure(error: AppError): void;
}

export interface UpstreamOrigin {
  readonly machine: MachineId;
  readonly service: Port;
  readonly generation: number;
}

/** What carries one request to a Machine and its answer back: a connection, or a stream of an HTTP/2 session. */
export interface Upstream {
  /** Requests that were sent on it before this one. */
  readonly served: number;
  /** Whether a byte of the current response has come. */
  readonly answered: boolean;
  /** Whether another request may follow: the response was complete, nothing came after it, both sides agree. */
  readonly reusable: boolean;
  /** Trailers of the response, checked, when it was decoded. */
  readonly trailers: string;
  begin(sink: ResponseSink, how: { toHead: boolean; mayUpgrade: boolean }): void;
  /**
   * The head as HTTP/1.1 text, and what there is of the body. Returns false when it is time to pause. `trailers`: of a body
   * that was decoded, when it is done.
   */
  sendHead(head: string, body: readonly Buffer[], bodyDone: boolean, trailers: string): boolean;
  send(chunk: Buffer, bodyDone: boolean, trailers: string): boolean;
  /** The client ended its side of a switched connection. */
  endSends(): void;
  pause(): void;
  resume(): void;
  destroy(): void;
}

/** Responses below 200 to one request. They are not counted by back-pressure, so they are counted here. */
export const MAX_INFORMATIONAL = 100;
