import type { ChildProcess, SendHandle } from "node:child_process";
import type { Socket as UdpSocket } from "node:dgram";
import { Server, type ServerOpts, type Socket } from "node:net";

/**
 * A socket as libuv holds it, without anybody who takes what arrives. Node's IPC carries it like a server, but whoever receives
 * a *server* accepts from it at once, and a process that only keeps a listener for another must not. Node says of
 * `server.listen(handle)` that it takes "anything with an underlying _handle member"; that a message may carry that member
 * itself is how its own cluster module shares listeners. Should a Node know neither, nothing is kept, and no more is lost.
 */
export interface RawSocket {
  close(): void;
}

export function isRawSocket(value: unknown): value is RawSocket {
  return typeof value === "object" && value !== null && "close" in value && "getAsyncId" in value;
}

/** What is under a server that listens, or a UDP socket that is bound. */
export function rawSocketOf(from: Server | UdpSocket): RawSocket | undefined {
  const raw: unknown = from instanceof Server ? ("_handle" in from ? from._handle : undefined) : underUdp(from);
  return isRawSocket(raw) ? raw : undefined;
}

/** UDP sockets have `_handle` too, but say that nobody shall ask for it. */
function underUdp(socket: UdpSocket): unknown {
  const state = Object.getOwnPropertySymbols(socket).find(({ description }) => description === "state symbol");
  const value: unknown = state === undefined ? undefined : Reflect.get(socket, state);
  return typeof value === "object" && value !== null && "handle" in value ? value.handle : undefined;
}

/** Sends a message with a socket over an IPC channel, if that is open. The sender's own copy stays open. */
export function sendSocket(
  channel: Pick<ChildProcess, "connected" | "send">,
  message: object,
  socket: RawSocket,
): void {
  if (channel.connected) channel.send(message, socket as unknown as SendHandle, {}, () => undefined);
}

/** Under which name a listener is kept. `inside`: in the network namespace of host mode. */
export function listenerName(where: "inside" | "inside udp" | "outside", host: string, port: number): string {
  return `${where} [${host}]:${port}`;
}

/** A server that says when it is to take no more connections, and not only when the last of them has ended. */
export class KeptServer extends Server {
  readonly #released: () => void;

  constructor(options: ServerOpts, released: () => void, onConnection?: (socket: Socket) => void) {
    super(options, onConnection);
    this.#released = released;
  }

  override close(callback?: (error?: Error) => void): this {
    if (this.listening) this.#released();
    return super.close(callback);
  }
}

/**
 * Listeners that outlive whoever serves them: while one who serves is gone, connections wait in the kernel until the next
 * takes the listener up, and are then served. Each copy of the store holds descriptors of its own.
 */
export class KeptListeners {
  readonly #kept = new Map<string, RawSocket>();
  /** Those that are of use to who serves now. */
  readonly #claimed = new Set<string>();
  readonly #onKeep: (name: string, socket: RawSocket) => void;
  readonly #onRelease: (name: string) => void;
  #frozen = false;

  /** Both are told of changes, but not of what is adopted. */
  constructor(
    onKeep: (name: string, socket: RawSocket) => void = () => undefined,
    onRelease: (name: string) => void = () => undefined,
  ) {
    this.#onKeep = onKeep;
    this.#onRelease = onRelease;
  }

  /** What an earlier one has kept. */
  adopt(name: string, socket: RawSocket): void {
    this.#kept.get(name)?.close();
    this.#kept.set(name, socket);
  }

  keep(name: string, socket: RawSocket): void {
    this.adopt(name, socket);
    this.#claimed.add(name);
    this.#onKeep(name, socket);
  }

  /** To be served again. It stays kept. */
  take(name: string): RawSocket | undefined {
    this.#claimed.add(name);
    return this.#kept.get(name);
  }

  /** Nobody serves it any more on purpose: from now on connections are refused. */
  release(name: string): void {
    const socket = this.#kept.get(name);
    if (socket === undefined || this.#frozen) return;
    this.#kept.delete(name);
    this.#claimed.delete(name);
    socket.close();
    this.#onRelease(name);
  }

  /** Who serves now has all that it wants: connections to the rest would wait for ever. */
  releaseUnclaimed(): void {
    for (const name of this.#kept.keys()) if (!this.#claimed.has(name)) this.release(name);
  }

  /** Who serves ends so that another can take over: nothing is released from now on. */
  freeze(): void {
    this.#frozen = true;
  }

  entries(): readonly (readonly [string, RawSocket])[] {
    return [...this.#kept];
  }
}
