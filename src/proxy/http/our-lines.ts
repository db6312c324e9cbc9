/** Lines that the proxy adds to each request and each response, with CR LF. */
import type { Connection } from "../context.ts";
import type { HttpContext } from "./context.ts";

/** The request's id, the signed name of the Machine that called, and a trace when it has none and one is wanted. */
export function requestLines(
  context: HttpContext,
  connection: Connection,
  requestId: string,
  isTraced: boolean,
): string {
  const { signer, view, trace } = context;
  const { machine } = connection.caller;
  let lines = `Fly-Request-Id: ${requestId}\r\n`;
  if (trace !== undefined && !isTraced) lines += trace();
  if (signer === undefined || machine === undefined) return lines;
  const app = view.machine(machine)?.app;
  const org = app === undefined ? undefined : view.app(app)?.org;
  return app === undefined || org === undefined ? lines : lines + signer.lines(machine, app, org);
}

const BEFORE_ID = {
  "1.1": "Server: Fly/flycast\r\nVia: 1.1 fly.io\r\nFly-Request-Id: ",
  "2": "Server: Fly/flycast\r\nVia: 2 fly.io\r\nFly-Request-Id: ",
};

/** `version`: of HTTP on the client's side. */
export function responseLines(requestId: string, version: "1.1" | "2"): string {
  return `${BEFORE_ID[version]}${requestId}\r\n`;
}
