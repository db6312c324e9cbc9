import { createServer, type Server, type Socket } from "node:net";
import type { Ip6 } from "../../core/ids.ts";
import { parseIp6 } from "../address.ts";
import { SERVER_OPTIONS } from "../outside-direct.ts";
import type { InsideSockets } from "./inside-sockets.ts";

/**
 * A port on which Flycast itself answers at some addresses and services at all others. The kernel lets nobody listen on
 * one address beside a listener on all (SO_REUSEPORT would allow it, and Node 20 cannot ask for that): so there is one
 * listener, and each connection goes to whom its destination belongs to. The servers that are given out do not listen
 * themselves; the listener opens with the first and closes with the last of them.
 */
export class SharedPort {
  readonly #port: number;
  readonly #sockets: Pick<InsideSockets, "listen">;
  readonly #owners = new Map<Ip6, Server>();
  #rest: Server | undefined;
  #listening: Promise<Server> | undefined;

  constructor(port: number, sockets: Pick<InsideSockets, "listen">) {
    this.#port = port;
    this.#sockets = sockets;
  }

  /** What arrives at this address. Once for an address at a time. @errors port_taken, internal */
  async at(address: Ip6): Promise<Server> {
    const server = this.#hand(() => {
      if (this.#owners.get(address) === server) this.#owners.delete(address);
    });
    this.#owners.set(address, server);
    return this.#open(server);
  }

  /** What arrives anywhere else. Once at a time. @errors port_taken, internal */
  async elsewhere(): Promise<Server> {
    const server = this.#hand(() => {
      if (this.#rest === server) this.#rest = undefined;
    });
    this.#rest = server;
    return this.#open(server);
  }

  #hand(forget: () => void): Server {
    const server = createServer(SERVER_OPTIONS);
    server.once("close", () => {
      forget();
      this.#closeIfUnused();
    });
    return server;
  }

  async #open(server: Server): Promise<Server> {
    this.#listening ??= this.#listen();
    try {
      await this.#listening;
      return server;
    } catch (error) {
      this.#listening = undefined;
      server.close();
      throw error;
    }
  }

  async #listen(): Promise<Server> {
    const listener = await this.#sockets.listen("::", this.#port);
    listener.on("connection", (socket) => this.#pass(socket));
    return listener;
  }

  #pass(socket: Socket): void {
    const address = parseIp6(socket.localAddress ?? "");
    const server = (address.ok ? this.#owners.get(address.value) : undefined) ?? this.#rest;
    if (server !== undefined) return void server.emit("connection", socket);
    socket.on("error", () => undefined);
    socket.resetAndDestroy();
  }

  #closeIfUnused(): void {
    if (this.#owners.size > 0 || this.#rest !== undefined) return;
    const listening = this.#listening;
    this.#listening = undefined;
    void listening?.then((listener) => listener.close()).catch(() => undefined);
  }
}
