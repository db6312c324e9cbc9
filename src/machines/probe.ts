import { connect } from "node:net";
import { Client } from "undici";
import type { HttpCheck } from "../config/model.ts";
import type { DialAddress } from "../network/plane.ts";
import type { Probe, ProbeResult } from "./health.ts";

/** Runs a check over real sockets. An HTTP check passes on 2xx only, and follows no redirect (reference §1.5). */
export const probe: Probe = async (check, addresses, signal) => {
  if (addresses.length === 0) return { passed: false, output: "the Machine has no address yet" };
  // Not AbortSignal.any: on Node 20 each one stays behind on the signal of a Machine that lives for months.
  const controller = new AbortController();
  const limit = controller.signal;
  const abort = (): void => controller.abort();
  const timer = setTimeout(abort, check.timeout);
  signal.addEventListener("abort", abort, { once: true });
  if (signal.aborted) abort();
  let last: ProbeResult = { passed: false, output: "not tried" };
  for (const address of addresses) {
    last = check.http === undefined ? await tcp(address, limit) : await http(check.http, address, limit);
    // The next address is for Machines that listen on the other one only.
    if (last.passed || limit.aborted || last.output !== REFUSED) break;
  }
  clearTimeout(timer);
  signal.removeEventListener("abort", abort);
  if (limit.aborted && !last.passed) return { passed: false, output: `no answer within ${check.timeout} ms` };
  return last;
};

const REFUSED = "connection refused";

function tcp(address: DialAddress, signal: AbortSignal): Promise<ProbeResult> {
  return new Promise((resolve) => {
    const socket = connect({ host: address.host, port: address.port });
    const done = (result: ProbeResult): void => {
      signal.removeEventListener("abort", aborted);
      // Reset, not FIN: a check leaves nothing behind in TIME_WAIT.
      socket.resetAndDestroy();
      resolve(result);
    };
    const aborted = (): void => done({ passed: false, output: "no answer" });
    socket.on("connect", () => done({ passed: true, output: "connected" }));
    socket.on("error", (error) => done({ passed: false, output: describe(error) }));
    if (signal.aborted) aborted();
    else signal.addEventListener("abort", aborted, { once: true });
  });
}

async function http(check: HttpCheck, address: DialAddress, signal: AbortSignal): Promise<ProbeResult> {
  const host = address.host.includes(":") ? `[${address.host}]` : address.host;
  let client: Client | undefined;
  try {
    client = new Client(`${check.protocol}://${host}:${address.port}`, {
      maxHeaderSize: 16 * 1024,
      connect: {
        rejectUnauthorized: !check.tlsSkipVerify,
        ...(check.tlsServerName === undefined ? {} : { servername: check.tlsServerName }),
      },
    });
    const headers: string[] = ["user-agent", "flycast-check"];
    for (const { name, value } of check.headers) headers.push(name, value);
    const response = await client.request({ method: check.method.toUpperCase(), path: check.path, headers, signal });
    const passed = response.statusCode >= 200 && response.statusCode <= 299;
    return { passed, output: `HTTP ${response.statusCode}` };
  } catch (error) {
    return { passed: false, output: describe(error) };
  } finally {
    // The body is of no interest, however long it is: the connection goes.
    client?.destroy().catch(() => {});
  }
}

function describe(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (code === "ECONNREFUSED") return REFUSED;
  const message = error instanceof Error && error.message !== "" ? error.message : code;
  return message.slice(0, 200);
}
