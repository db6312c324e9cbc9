import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { once } from "node:events";
import { createServer, type Server } from "node:net";
import { bindError, LISTEN_BACKLOG, SERVER_OPTIONS } from "../outside-direct.ts";
import { KeptServer, listenerName } from "./kept-listeners.ts";

/** Has sockets of ours kept open by a process that outlives this one (host mode). */
export interface Keeper {
  /** What was kept, as `listen` and `bind` take it; undefined when there is nothing of that name. */
  take(name: string): Promise<object | undefined>;
  keep(name: string, socket: Server | UdpSocket): void;
  release(name: string): void;
}

/** Opens sockets in the namespace that we stand in. */
export interface InsideSockets {
  /** @errors port_taken, internal */
  listen(host: string, port: number): Promise<Server>;
  /** An IPv6 UDP socket. @errors port_taken, internal */
  bindUdp(host: string, port: number): Promise<UdpSocket>;
}

/** `keeper`: in host mode. */
export function insideSockets(keeper: Keeper | undefined): InsideSockets {
  if (keeper === undefined) {
    return {
      listen: (host, port) => listen(createServer(SERVER_OPTIONS), host, port),
      bindUdp: (host, port) => bindUdp(host, port),
    };
  }
  return {
    async listen(host, port) {
      const name = listenerName("inside", host, port);
      const server = new KeptServer(SERVER_OPTIONS, () => keeper.release(name));
      const kept = await keeper.take(name);
      await listen(server, host, port, kept);
      if (kept === undefined) keeper.keep(name, server);
      return server;
    },
    async bindUdp(host, port) {
      const name = listenerName("inside udp", host, port);
      const kept = await keeper.take(name);
      const socket = await bindUdp(host, port, kept);
      socket.once("close", () => keeper.release(name));
      if (kept === undefined) keeper.keep(name, socket);
      return socket;
    },
  };
}

async function listen(server: Server, host: string, port: number, kept?: object): Promise<Server> {
  try {
    if (kept !== undefined) server.listen(kept, LISTEN_BACKLOG);
    // Without `ipv6Only` the wildcard would take the IPv4 links' connections too.
    else server.listen({ host, port, ipv6Only: true, backlog: LISTEN_BACKLOG });
    await once(server, "listening");
  } catch (thrown) {
    throw bindError(thrown, host, port);
  }
  return server;
}

async function bindUdp(address: string, port: number, kept?: object): Promise<UdpSocket> {
  const socket = createSocket("udp6");
  const listening = once(socket, "listening");
  try {
    // Takes a socket that is bound already, as its cluster module does, where it declares options only.
    if (kept !== undefined) socket.bind(kept);
    else socket.bind({ address, port, exclusive: true });
    await listening;
  } catch (thrown) {
    socket.close();
    throw bindError(thrown, address, port);
  }
  return socket;
}
