import type { Timer, Clock } from "../../core/clock.ts";
import { backoffDelay, type Backoff } from "../../core/backoff.ts";
import { toAppError, type AppError } from "../../core/errors.ts";
import { ms, seconds } from "../../core/units.ts";
import { peerCidr } from "../address.ts";
import { CommandQueue } from "../linux/commands.ts";
import type { Commands } from "../linux/guard.ts";
import { run } from "../linux/run.ts";
import type { Outside } from "../outside.ts";
import { Device, type DeviceKind } from "./device.ts";
import { gatewayKey, type GatewayKey } from "./keys.ts";
import { Relay } from "./relay.ts";
import { nftPeerRules, routingPeerRules, type PeerPlace, type PeerRules } from "./rules.ts";

/** A client as the registry knows it. */
export interface GatewayPeer extends PeerPlace {
  /** Base64. */
  readonly publicKey: string;
}

export interface GatewayOptions {
  readonly outside: Outside;
  /** Where clients send their datagrams: an address and UDP port of the computer. */
  readonly listen: { readonly host: string; readonly port: number };
  /** Its folder `keys` holds the gateway's private key. */
  readonly stateDir: string;
  /** Whether nftables holds the rules of the plane (`LinuxPlaneOptions`). */
  readonly nftables: boolean;
  /** All clients of now. Their networks must have been added to the plane. */
  readonly peers: () => Iterable<GatewayPeer>;
  readonly clock: Clock;
  /** What goes wrong later: the tunnels ended, or a change was refused. The gateway tries again by itself. */
  readonly onProblem: (error: AppError) => void;
}

export interface GatewayState {
  /** Who carries the tunnels; undefined while nobody does: then it is tried again. */
  readonly by: DeviceKind | undefined;
  /** Clients that may connect now. */
  readonly tunnels: number;
}

/** The door by which WireGuard clients come into their networks (lab and host mode). */
export interface Gateway {
  /** Base64. */
  readonly publicKey: string;
  /** UDP port outside. */
  readonly port: number;
  state(): GatewayState;
  /**
   * Makes the tunnels those of `peers()`; to be called after each change of them. When it resolves, a new client may
   * connect, and one that was removed is cut off: its packets are read no more and its connections have ended.
   */
  sync(): Promise<void>;
  close(): Promise<void>;
}

const RETRY: Backoff = { first: ms(500), max: seconds(10) };
/** One argument of a program holds 128 KiB, and an unprivileged nftables transaction some 2,000 elements. */
const AT_ONCE = 500;

/** @errors port_taken, no_privilege, missing_tool, state_damaged */
export async function openGateway(options: GatewayOptions): Promise<Gateway> {
  const key = await gatewayKey(options.stateDir);
  const gateway = new LinuxGateway(options, key);
  try {
    await gateway.start();
  } catch (thrown) {
    await gateway.close();
    throw thrown;
  }
  return gateway;
}

class LinuxGateway implements Gateway {
  readonly #options: GatewayOptions;
  readonly #key: GatewayKey;
  readonly #rules: PeerRules;
  readonly #commands = new CommandQueue();
  /** The tunnels that stand, by public key. */
  readonly #tunnels = new Map<string, GatewayPeer>();
  #device: Device | undefined;
  #relay: Relay | undefined;
  #outerPort = 0;
  #syncing: Promise<void> | undefined;
  #again: Promise<void> | undefined;
  #failures = 0;
  #retry: Timer | undefined;
  #closed = false;

  constructor(options: GatewayOptions, key: GatewayKey) {
    this.#options = options;
    this.#key = key;
    this.#rules = options.nftables ? nftPeerRules : routingPeerRules;
  }

  get publicKey(): string {
    return this.#key.publicKey;
  }

  get port(): number {
    return this.#outerPort;
  }

  state(): GatewayState {
    return { by: this.#device?.by, tunnels: this.#device === undefined ? 0 : this.#tunnels.size };
  }

  async start(): Promise<void> {
    const { outside, listen, clock } = this.#options;
    await this.#commands.apply(this.#rules.base, "ensure");
    this.#device = await this.#openDevice();
    const outer = await outside.bindUdp(listen.host, listen.port);
    this.#outerPort = outer.address().port;
    this.#relay = new Relay({ outer, port: () => this.#device?.port, clock });
  }

  #openDevice(): Promise<Device> {
    return Device.open({
      keyFile: this.#key.file,
      clock: this.#options.clock,
      onEnded: () => {
        this.#device = undefined;
        if (!this.#closed) this.#failed(toAppError(new Error("the WireGuard tunnels ended unexpectedly")));
      },
    });
  }

  sync(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    if (this.#syncing === undefined) {
      this.#syncing = this.#syncNow().finally(() => {
        this.#syncing = undefined;
      });
      return this.#syncing;
    }
    // What runs now may have read the clients before they changed: whoever asks meanwhile shares the next run.
    this.#again ??= this.#syncing
      .catch(() => undefined)
      .then(() => {
        this.#again = undefined;
        return this.sync();
      });
    return this.#again;
  }

  async #syncNow(): Promise<void> {
    try {
      if (this.#device === undefined) await this.#begin();
      const wanted = this.#wanted();
      const gone = [...this.#tunnels.values()].filter((peer) => wanted.get(peer.publicKey)?.address !== peer.address);
      for (const some of chunks(gone)) await this.#remove(some);
      const fresh = [...wanted.values()].filter((peer) => !this.#tunnels.has(peer.publicKey));
      for (const some of chunks(fresh)) await this.#add(some);
      this.#failures = 0;
    } catch (thrown) {
      if (this.#closed) return;
      const error = toAppError(thrown);
      this.#failed(error);
      throw error;
    }
  }

  /** After the tunnels ended: new ones, without clients. Rules outlived them, routes did not. */
  async #begin(): Promise<void> {
    for (const peer of this.#tunnels.values()) await this.#commands.apply(this.#rules.remove(peer), "remove");
    this.#tunnels.clear();
    this.#device = await this.#openDevice();
    this.#relay?.reset();
  }

  /**
   * By public key, which is who a client is to WireGuard. Whoever names the key of another's client gets no tunnel:
   * the one that stands, or else the older one, keeps it.
   */
  #wanted(): ReadonlyMap<string, GatewayPeer> {
    const wanted = new Map<string, GatewayPeer>();
    for (const peer of this.#options.peers()) {
      const standing = this.#tunnels.get(peer.publicKey);
      if (!wanted.has(peer.publicKey) || standing?.address === peer.address) wanted.set(peer.publicKey, peer);
    }
    return wanted;
  }

  async #add(peers: readonly GatewayPeer[]): Promise<void> {
    await this.#commands.apply(together(peers.map((peer) => this.#rules.add(peer))), "ensure");
    await this.#device?.add(peers.map((peer) => ({ publicKey: peer.publicKey, cidr: peerCidr(peer.address) })));
    for (const peer of peers) this.#tunnels.set(peer.publicKey, peer);
  }

  async #remove(peers: readonly GatewayPeer[]): Promise<void> {
    await this.#device?.remove(peers.map((peer) => peer.publicKey));
    for (const peer of peers) this.#tunnels.delete(peer.publicKey);
    await this.#commands.apply(together(peers.map((peer) => this.#rules.remove(peer))), "remove");
    // Its connections end now, not when nobody has answered for a quarter of an hour: until then Machines stay awake.
    const theirs = peers.flatMap((peer, index) => [...(index === 0 ? [] : ["or"]), "dst", peerCidr(peer.address)]);
    await run(["ss", "--kill", "--tcp", ...theirs]);
  }

  #failed(error: AppError): void {
    this.#options.onProblem(error);
    this.#retry?.cancel();
    const delay = backoffDelay(RETRY, ++this.#failures);
    this.#retry = this.#options.clock.after(delay, () => {
      this.sync().catch(() => undefined);
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#retry?.cancel();
    await this.#syncing?.catch(() => undefined);
    await this.#relay?.close();
    const peers = [...this.#tunnels.values()];
    this.#tunnels.clear();
    for (const some of chunks(peers)) {
      await this.#commands.apply(together(some.map((peer) => this.#rules.remove(peer))), "remove");
    }
    await this.#device?.close();
  }
}

function together(parts: readonly Commands[]): Commands {
  return {
    ip: parts.flatMap((part) => part.ip),
    ip6: parts.flatMap((part) => part.ip6),
    nft: parts.flatMap((part) => part.nft),
  };
}

function chunks<T>(all: readonly T[]): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(all.length / AT_ONCE) }, (_, i) => all.slice(i * AT_ONCE, (i + 1) * AT_ONCE));
}
