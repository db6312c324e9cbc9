import type { Server as HttpServer } from "node:http";
import type { Server, Socket } from "node:net";
import type { Via } from "./gate.ts";

/** Connections at once: from inside a network a single Machine must not take them all. */
const MOST_FROM_ONE = { inside: 64, outside: 512 } as const;
const MOST = { inside: 1024, outside: 1024 } as const;

/** Counts the connections of the API's listeners, remembers where each came in, and closes those that are too many. */
export class Connections {
  readonly #kinds = new WeakMap<object, Via["kind"]>();
  readonly #counts = new Map<string, number>();
  readonly #servers: Server[] = [];

  /** Hands the connections of a server that listens already to `http`. */
  attach(server: Server, kind: Via["kind"], http: HttpServer): void {
    this.#servers.push(server);
    server.on("connection", (socket) => {
      const keys = [
        [kind, MOST[kind]] as const,
        [`${kind} ${socket.remoteAddress ?? ""}`, MOST_FROM_ONE[kind]] as const,
      ];
      if (keys.some(([key, most]) => (this.#counts.get(key) ?? 0) >= most)) return void socket.destroy();
      for (const [key] of keys) this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
      socket.once("close", () => keys.forEach(([key]) => this.#left(key)));
      this.#kinds.set(socket, kind);
      http.emit("connection", socket);
    });
  }

  kindOf(socket: Socket): Via["kind"] {
    return this.#kinds.get(socket) ?? "outside";
  }

  close(): void {
    for (const server of this.#servers) server.close();
  }

  #left(key: string): void {
    const count = (this.#counts.get(key) ?? 1) - 1;
    if (count > 0) this.#counts.set(key, count);
    else this.#counts.delete(key);
  }
}
