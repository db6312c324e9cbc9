import { once } from "node:events";
import { createServer, type Server } from "node:net";
import { bindError, LISTEN_BACKLOG, SERVER_OPTIONS } from "../outside-direct.ts";

/** Listens in the namespace that we stand in. @errors port_taken, internal */
export async function listenInside(host: string, port: number): Promise<Server> {
  const server = createServer(SERVER_OPTIONS);
  try {
    // Without `ipv6Only` the wildcard would take the IPv4 links' connections too.
    server.listen({ host, port, ipv6Only: true, backlog: LISTEN_BACKLOG });
    await once(server, "listening");
  } catch (thrown) {
    throw bindError(thrown, host, port);
  }
  return server;
}
