import type { ErrorCode } from "../../core/errors.ts";
import type { AppName, MachineId } from "../../core/ids.ts";
import type { Monotonic } from "../../core/units.ts";
import type { Settlement } from "../context.ts";
import type { Exchange } from "./exchange.ts";

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
  /** Milliseconds from the end of the head to the last byte of the response, to a tenth. */
  readonly duration: number;
}

export function accessLine(
  exchange: Exchange,
  settlement: Settlement,
  protocol: AccessLine["protocol"],
  now: Monotonic,
): AccessLine {
  const { connection, request } = exchange;
  return {
    app: settlement.work?.app ?? exchange.app,
    machine: settlement.machine,
    client: (connection.reported ?? connection.caller).address,
    method: request.method,
    target: request.target,
    host: request.host,
    protocol,
    requestId: exchange.requestId,
    status: settlement.status,
    code: settlement.code,
    bytesIn: settlement.bytesIn,
    bytesOut: settlement.bytesOut,
    duration: Math.round((now - exchange.since) * 10) / 10,
  };
}
