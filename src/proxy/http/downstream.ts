import type { AppError } from "../../core/errors.ts";
import type { Framing } from "./framing.ts";
import type { HeadParser } from "./head.ts";

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
