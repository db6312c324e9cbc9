import type { Settlement } from "../context.ts";

/** One request, for the access log. Values from the client are as they came: whoever prints them escapes them. */
export interface AccessLine extends Settlement {
  readonly requestId: string;
  readonly method: string;
  readonly target: string;
  readonly host: string;
  readonly protocol: "HTTP/1.0" | "HTTP/1.1" | "HTTP/2";
  readonly client: string;
  /** Milliseconds from the end of the head to the last byte of the response. */
  readonly duration: number;
}
