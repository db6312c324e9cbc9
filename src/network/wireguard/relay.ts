import { randomBytes } from "node:crypto";
import { createSocket, type RemoteInfo, type Socket as UdpSocket } from "node:dgram";
import { once } from "node:events";
import type { Clock, Timer } from "../../core/clock.ts";
import type { Monotonic } from "../../core/units.ts";
import { seconds } from "../../core/units.ts";
import { isWireGuard } from "./datagram.ts";
import { standIn } from "./stand-in.ts";

export interface RelayOptions {
  /** Bound on the computer, where clients send to. The relay owns it. */
  readonly outer: UdpSocket;
  /** WireGuard's own port on 127.0.0.1 of the namespace that we stand in; undefined while it does not run. */
  readonly port: () => number | undefined;
  readonly clock: Clock;
  /** Remote endpoints to whom WireGuard has answered, at once. @default 2048 */
  readonly known?: number;
  /** Remote endpoints that it has not answered yet. @default 256 */
  readonly unknown?: number;
}

/** WireGuard forgets a session after 180 s, and clients behind NAT send at least every 25 s or so. */
const KNOWN_IDLE = seconds(240);
const UNKNOWN_IDLE = seconds(10);
/** A newcomer may displace another that has waited this long for an answer: real ones have it within milliseconds. */
const DISPLACED_AFTER = seconds(1);
const SWEEP = seconds(5);
/** Datagrams kept while a local socket opens. */
const EARLY = 16;
/** A burst of bulk traffic must survive until we read; the kernel may give less. */
const RECEIVE_BUFFER = 2 * 1024 * 1024;

interface Endpoint {
  readonly key: string;
  readonly remote: RemoteInfo;
  readonly socket: UdpSocket;
  early: Buffer[] | undefined;
  /** WireGuard has answered, so somebody there holds a key that it knows. */
  known: boolean;
  /** Of the last datagram either way. */
  at: Monotonic;
}

/**
 * Carries datagrams between the computer's port and WireGuard in our namespace. Each remote endpoint has a local socket
 * of its own, at an address of its own, so WireGuard tells clients apart, sees them roam and limits each. Strangers are bounded apart from clients: a flood of
 * them takes no place from a tunnel that stands.
 */
export class Relay {
  readonly #options: RelayOptions;
  readonly #limits: { readonly known: number; readonly unknown: number };
  /** In the order of their last datagram to us, the oldest first. */
  readonly #known = new Map<string, Endpoint>();
  readonly #unknown = new Map<string, Endpoint>();
  readonly #salt = randomBytes(16);
  #sweeper: Timer | undefined;
  #closed = false;

  constructor(options: RelayOptions) {
    this.#options = options;
    this.#limits = { known: options.known ?? 2048, unknown: options.unknown ?? 256 };
    const { outer } = options;
    try {
      outer.setRecvBufferSize(RECEIVE_BUFFER);
      outer.setSendBufferSize(RECEIVE_BUFFER);
    } catch {
      // The default then.
    }
    outer.on("message", (datagram, remote) => this.#arrived(datagram, remote));
    // An unreachable client is no fault of the port.
    outer.on("error", () => undefined);
    this.#sweep();
  }

  /** Remote endpoints that have a local socket. */
  get size(): number {
    return this.#known.size + this.#unknown.size;
  }

  /** Forgets all endpoints: WireGuard has begun anew, perhaps on another port. */
  reset(): void {
    for (const endpoint of [...this.#known.values(), ...this.#unknown.values()]) this.#drop(endpoint);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#sweeper?.cancel();
    this.reset();
    const closed = once(this.#options.outer, "close");
    this.#options.outer.close();
    await closed;
  }

  #arrived(datagram: Buffer, remote: RemoteInfo): void {
    if (!isWireGuard(datagram)) return;
    const key = `${remote.address} ${remote.port}`;
    const endpoint = this.#known.get(key) ?? this.#unknown.get(key) ?? this.#open(key, remote);
    if (endpoint === undefined) return;
    this.#touch(endpoint);
    if (endpoint.early === undefined) send(endpoint.socket, datagram);
    else if (endpoint.early.length < EARLY) endpoint.early.push(datagram);
  }

  #open(key: string, remote: RemoteInfo): Endpoint | undefined {
    const port = this.#options.port();
    if (port === undefined) return undefined;
    if (this.#unknown.size >= this.#limits.unknown) {
      const [oldest] = this.#unknown.values();
      if (oldest === undefined || this.#options.clock.now() - oldest.at < DISPLACED_AFTER) return undefined;
      this.#drop(oldest);
    }
    const socket = createSocket("udp4");
    const endpoint: Endpoint = { key, remote, socket, early: [], known: false, at: this.#options.clock.now() };
    this.#unknown.set(key, endpoint);
    socket.on("error", () => this.#drop(endpoint));
    socket.on("message", (datagram) => this.#answered(endpoint, datagram));
    socket.bind({ address: standIn(remote.address, this.#salt), exclusive: true }, () => {
      // Connected: nobody but WireGuard itself can send to it.
      socket.connect(port, "127.0.0.1", () => {
        const early = endpoint.early ?? [];
        endpoint.early = undefined;
        for (const datagram of early) send(socket, datagram);
      });
    });
    return endpoint;
  }

  #answered(endpoint: Endpoint, datagram: Buffer): void {
    if (!endpoint.known) this.#promote(endpoint);
    if (!this.#closed)
      this.#options.outer.send(datagram, endpoint.remote.port, endpoint.remote.address, () => undefined);
  }

  #promote(endpoint: Endpoint): void {
    this.#unknown.delete(endpoint.key);
    if (this.#known.size >= this.#limits.known) {
      const [oldest] = this.#known.values();
      if (oldest !== undefined) this.#drop(oldest);
    }
    endpoint.known = true;
    this.#known.set(endpoint.key, endpoint);
  }

  /** To the end of its list: whoever was silent for longest goes first. */
  #touch(endpoint: Endpoint): void {
    endpoint.at = this.#options.clock.now();
    if (!endpoint.known) return;
    this.#known.delete(endpoint.key);
    this.#known.set(endpoint.key, endpoint);
  }

  #drop(endpoint: Endpoint): void {
    const list = endpoint.known ? this.#known : this.#unknown;
    if (list.get(endpoint.key) !== endpoint) return;
    list.delete(endpoint.key);
    try {
      endpoint.socket.close();
    } catch {
      // It had failed before it opened.
    }
  }

  #sweep(): void {
    const now = this.#options.clock.now();
    for (const endpoint of this.#known.values()) if (now - endpoint.at > KNOWN_IDLE) this.#drop(endpoint);
    for (const endpoint of this.#unknown.values()) if (now - endpoint.at > UNKNOWN_IDLE) this.#drop(endpoint);
    this.#sweeper = this.#options.clock.after(SWEEP, () => this.#sweep());
  }
}

/** UDP promises nothing, and a refusal comes back as the socket's error. */
function send(socket: UdpSocket, datagram: Buffer): void {
  socket.send(datagram, () => undefined);
}
