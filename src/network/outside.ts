/**
 * The way to the computer's own network. In the lab the node stands inside a namespace without a way out, and the outer
 * process opens these sockets and hands them in; in loopback and host mode they are opened in place.
 */
import type { Socket as UdpSocket } from "node:dgram";
import type { Server, Socket } from "node:net";

export interface Outside {
  /**
   * A TCP server that listens on an address of the computer, not yet accepting: attach `connection` listeners first.
   * `port` 0 asks for any free port; `server.address()` tells which. @errors port_taken, no_privilege
   */
  listen(host: string, port: number): Promise<Server>;
  /** A bound UDP socket. @errors port_taken, no_privilege */
  bindUdp(host: string, port: number): Promise<UdpSocket>;
  /** A connected TCP socket. @errors node_unreachable with the cause */
  dial(host: string, port: number): Promise<Socket>;
}
