import type { ChildProcess } from "node:child_process";
import type { Socket as UdpSocket } from "node:dgram";
import { connect, createServer, type Server, type Socket } from "node:net";
import { toAppError, type AppError } from "../../core/errors.ts";
import { bindError, dialError, directOutside, LISTEN_BACKLOG } from "../outside-direct.ts";
import type { CoreMessage, OuterMessage } from "./wire.ts";

type Open = Extract<CoreMessage, { flycast: "open" }>;
type Handle = Server | UdpSocket | Socket;

/** A dial that takes longer has failed: the core waits for it, and its own deadlines are shorter. */
const DIAL_TIMEOUT = 10_000;

/**
 * The outer half of the core's way to the computer's network: opens what the core asks for, hands the descriptor in, and
 * closes its own copy once the core has taken it.
 */
export class OuterSockets {
  readonly #core: ChildProcess;
  readonly #held = new Map<number, () => void>();

  constructor(core: ChildProcess) {
    this.#core = core;
  }

  async open(request: Open): Promise<void> {
    try {
      const handle = await this.#make(request);
      this.#send({ flycast: "opened", id: request.id }, handle);
    } catch (thrown) {
      const error: AppError = toAppError(thrown);
      this.#send({ flycast: "refused", id: request.id, code: error.code, message: error.message });
    }
  }

  /** The core has the descriptor: ours would only take connections and datagrams away from it. */
  taken(id: number): void {
    this.#held.get(id)?.();
    this.#held.delete(id);
  }

  close(): void {
    for (const release of this.#held.values()) release();
    this.#held.clear();
  }

  async #make(request: Open): Promise<Handle> {
    const { id, host, port } = request;
    switch (request.what) {
      case "listen": {
        const server = await listenPaused(host, port);
        // Until our copy closes the kernel may give it a connection: that one goes in by itself.
        server.on("connection", (socket) => this.#send({ flycast: "straggler", id }, socket));
        this.#held.set(id, () => server.close());
        return server;
      }
      case "udp": {
        const socket = await directOutside.bindUdp(host, port);
        this.#held.set(id, () => socket.close());
        return socket;
      }
      case "dial":
        return dialPaused(host, port);
    }
  }

  #send(message: OuterMessage, handle?: Handle): void {
    if (!this.#core.connected) return;
    this.#core.send(message, handle, {}, (error) => {
      // The core is gone: everything ends with it.
      if (error !== null && handle !== undefined) this.close();
    });
  }
}

/** Listens without reading a byte from what it accepts: the bytes belong to the core. */
function listenPaused(host: string, port: number): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer({ pauseOnConnect: true, allowHalfOpen: true });
    server.once("error", (error) => reject(bindError(error, host, port)));
    server.listen({ host, port, backlog: LISTEN_BACKLOG }, () => resolve(server));
  });
}

function dialPaused(host: string, port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, allowHalfOpen: true });
    // Paused before it is connected, so that this process never reads from it.
    socket.pause();
    socket.setTimeout(DIAL_TIMEOUT, () => socket.destroy(new Error("timed out")));
    socket.once("error", (error) => reject(dialError(error, host, port)));
    socket.once("connect", () => {
      socket.setTimeout(0);
      resolve(socket);
    });
  });
}
