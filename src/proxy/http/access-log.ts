import type { ErrorCode } from "../../core/errors.ts";
import type { AppName, MachineId } from "../../core/ids.ts";

/** One request, for the access log: flat and plain. Values from the client are as they came: whoever prints them escapes them. */
export interface AccessLine {
  readonly app: AppName;
  /** Undefined: none was reached. */
  readonly machine: MachineId | undefined;
  readonly client: string;
  readonly method: string;
  readonly target: string;
  readonly host: string;
  readonly protocol: "HTTP/1.0" | "HTTP/1.1" | "HTTP/2";
  readonly requestId: string;
  /** Undefined: the client left before there was one. */
  readonly status: number | undefined;
  readonly code: ErrorCode | undefined;
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Milliseconds from the end of the head to the last byte of the response. */
  readonly duration: number;
}
