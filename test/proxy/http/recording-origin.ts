/** What servers behind different proxies made of the same bytes, told apart by the client's port. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { createServer, type AddressInfo } from "node:net";
import { systemClock } from "../../../src/core/clock.ts";
import type { RegionCode } from "../../../src/core/ids.ts";
import { ms } from "../../../src/core/units.ts";
import { createHttpHandler } from "../../../src/proxy/http/handler.ts";
import { PLAIN_LIMITS } from "../../support/plain-values.ts";
import { connectionTo, httpRoute, StaticReach } from "../../support/static-reach.ts";
import { listen, viewOf } from "./harness.ts";

export const UNKNOWN_METHOD = "a method that the origin does not know";

/** What an origin read: `METHOD target body`, one string for each request. */
export type Reading = string[];

/** An origin that answers everything, and remembers what it read by the lane in which it came. */
export class RecordingOrigin {
  readonly readings = new Map<string, Reading>();
  /** Requests that no proxy marked: it had taken their bytes for something else. */
  readonly orphans: string[] = [];
  port = 0;
  readonly #field: string;
  readonly #server = createHttpServer((request, response) => {
    let body = "";
    request.setEncoding("latin1");
    request.on("data", (chunk: string) => (body += chunk));
    request.on("end", () => {
      const lane = /^(?:lane-)?(\d+)$/.exec(String(request.headers[this.#field]))?.[1];
      const target = (request.url ?? "").replace(/^http:\/\/[^/]*/, "");
      const reading = `${request.method} ${target} ${JSON.stringify(body)}`;
      if (lane === undefined) this.orphans.push(reading);
      else this.readings.set(lane, [...(this.readings.get(lane) ?? []), reading]);
      response.end("ok");
    });
  });

  /** `field`: in which the proxy before it says from which port of the client a request came. */
  constructor(field: "fly-client-ip" | "x-lane") {
    this.#field = field;
    this.#server.on("clientError", (error, socket) => {
      // Without a packet: the end of a connection within a body, as when a client leaves.
      // Only a method that the origin does not know gets here from a proxy that is in order.
      const packet = ((error as Error & { rawPacket?: Buffer }).rawPacket ?? Buffer.alloc(0)).toString("latin1");
      const lane = /^X-Lane: (\d+)|lane-(\d+)/im.exec(packet);
      const reading = lane?.[1] ?? lane?.[2];
      if (reading !== undefined && /Invalid method|Expected space after method/.test(error.message)) {
        this.readings.set(reading, [...(this.readings.get(reading) ?? []), UNKNOWN_METHOD]);
      } else if (packet !== "") this.refused.push(`${String(error)} ${JSON.stringify(packet)}`);
      socket.destroy();
    });
  }
  /** Bytes that the origin's own strict parser refused after a proxy had let them pass. */
  readonly refused: string[] = [];

  async start(): Promise<void> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    this.port = (this.#server.address() as AddressInfo).port;
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

export interface LanedFront {
  readonly port: number;
  close(): Promise<void>;
}

/** Our handler; each request that it passes on carries the client's port in `Fly-Client-IP`. */
export async function startLanedFront(origin: number): Promise<LanedFront> {
  const connection = connectionTo(httpRoute({ type: "requests" }), systemClock);
  const handler = createHttpHandler({
    reach: new StaticReach(() => origin),
    view: viewOf(connection.route),
    limits: { ...PLAIN_LIMITS, headTimeout: ms(500), keepaliveTimeout: ms(500) },
    clock: systemClock,
    random: randomBytes,
    region: "iad" as RegionCode,
    signer: undefined,
    onSettled: () => undefined,
    log: { error: (details, message) => console.error(message, details) },
  });
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const caller = { ...connection.caller, address: `lane-${socket.remotePort}` };
    void handler.serve({ ...connection, caller }, socket, undefined);
  });
  const port = await listen(server);
  return {
    port,
    async close() {
      server.close();
      await handler.close();
    },
  };
}

/** Runs jobs in so many lanes at once. */
export async function inLanes(count: number, lanes: number, job: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: lanes }, async () => {
      while (next < count) await job(next++);
    }),
  );
}

/**
 * Of those in which something was found, what is found each time that one looks again, alone: on a busy computer, a proxy may only have
 * been slow.
 */
export async function foundAgain<T>(
  suspects: readonly T[],
  look: (suspect: T) => Promise<string | undefined>,
): Promise<readonly string[]> {
  const findings: string[] = [];
  for (const suspect of suspects) {
    let finding: string | undefined = "";
    for (let looks = 0; looks < 3 && finding !== undefined; looks++) finding = await look(suspect);
    if (finding !== undefined) findings.push(finding);
  }
  return findings;
}
