import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { once } from "node:events";
import { connect, createServer, isIPv6, type Server, type Socket } from "node:net";
import { AppError, type ErrorCode } from "../core/errors.ts";
import type { Outside } from "./outside.ts";

/** Room for a thousand clients that arrive at once; the kernel caps it at `net.core.somaxconn` (4096 by default). */
export const LISTEN_BACKLOG = 4096;

/** Half-close must survive the proxy, and its small writes must not wait for an acknowledgement. */
export const SERVER_OPTIONS = { allowHalfOpen: true, noDelay: true } as const;

/** The computer's own network, opened in place: loopback mode, and the outer process of the lab. */
export const directOutside: Outside = {
  async listen(host: string, port: number): Promise<Server> {
    const server = createServer(SERVER_OPTIONS);
    try {
      server.listen({ host, port, backlog: LISTEN_BACKLOG });
      await once(server, "listening");
    } catch (thrown) {
      throw bindError(thrown, host, port);
    }
    return server;
  },

  async bindUdp(host: string, port: number): Promise<UdpSocket> {
    const socket = createSocket(isIPv6(host) ? "udp6" : "udp4");
    try {
      socket.bind({ address: host, port, exclusive: true });
      await once(socket, "listening");
    } catch (thrown) {
      socket.close();
      throw bindError(thrown, host, port);
    }
    return socket;
  },

  async dial(host: string, port: number): Promise<Socket> {
    const socket = connect({ host, port, allowHalfOpen: true, noDelay: true });
    try {
      await once(socket, "connect");
    } catch (thrown) {
      socket.destroy();
      throw dialError(thrown, host, port);
    }
    return socket;
  },
};

/** What a failed bind means to the user. @errors port_taken, no_privilege, invalid */
export function bindError(thrown: unknown, host: string, port: number): AppError {
  const where = `${isIPv6(host) ? `[${host}]` : host}:${port}`;
  const [code, message] = explainBind(systemCode(thrown), where, port);
  return new AppError(code, message, { cause: thrown, details: { host, port } });
}

function explainBind(reason: string | undefined, where: string, port: number): readonly [ErrorCode, string] {
  switch (reason) {
    case "EADDRINUSE":
      return ["port_taken", `${where} is taken by another program`];
    case "EACCES":
    case "EPERM":
      return ["no_privilege", `opening ${where} needs a privilege (ports below 1024 do); choose a port above ${port}`];
    case "EADDRNOTAVAIL":
      return ["invalid", `${where} is not an address of this computer`];
    default:
      return ["internal", `cannot listen on ${where}: ${reason ?? "unknown error"}`];
  }
}

export function dialError(thrown: unknown, host: string, port: number): AppError {
  const reason = systemCode(thrown) ?? (thrown instanceof Error ? thrown.message : String(thrown));
  return new AppError("node_unreachable", `cannot connect to ${host} port ${port}: ${reason}`, {
    cause: thrown,
    details: { host, port },
  });
}

function systemCode(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error) || !("code" in thrown)) return undefined;
  return typeof thrown.code === "string" ? thrown.code : undefined;
}
