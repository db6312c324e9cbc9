import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { rm } from "node:fs/promises";
import { connect } from "node:net";
import type { Clock } from "../../core/clock.ts";
import { sleep } from "../../core/clock.ts";
import { AppError } from "../../core/errors.ts";
import { ms } from "../../core/units.ts";
import { mustRun, run, systemPath } from "../linux/run.ts";
import { DEVICE } from "./rules.ts";

/** What WireGuard must know of a client. */
export interface Tunnel {
  /** Base64. */
  readonly publicKey: string;
  /** The only sources that it may use, in CIDR form. */
  readonly cidr: string;
}

export type DeviceKind = "kernel" | "wireguard-go";

export interface DeviceOptions {
  /** File with the private key in base64. */
  readonly keyFile: string;
  readonly clock: Clock;
  /** Called when the tunnels have ended by themselves. */
  readonly onEnded: () => void;
}

/** IPv6 over Ethernet less WireGuard's 60 bytes (and 20 that IPv6 outside would take), as clients set it too. */
const MTU = 1420;
/** Where `wg` finds wireguard-go: also outside of the namespaces of host mode. */
export const SOCKET = `/var/run/wireguard/${DEVICE}.sock`;
const POLL = ms(10);
const START_TRIES = 500;

/**
 * The WireGuard interface in our namespace: the kernel's, or wireguard-go on a tun device where the kernel has none.
 * Changes name the clients that they are about, so they never disturb the tunnels of others.
 */
export class Device {
  readonly #options: DeviceOptions;
  #process: ChildProcess | undefined;
  #closing = false;
  #port = 0;
  #by: DeviceKind = "kernel";

  private constructor(options: DeviceOptions) {
    this.#options = options;
  }

  /** UDP port on which WireGuard listens in our namespace. */
  get port(): number {
    return this.#port;
  }

  /** Who carries the tunnels. */
  get by(): DeviceKind {
    return this.#by;
  }

  /** @errors missing_tool, no_privilege, internal */
  static async open(options: DeviceOptions): Promise<Device> {
    const device = new Device(options);
    try {
      await device.#start();
    } catch (thrown) {
      await device.close();
      throw thrown;
    }
    return device;
  }

  async #start(): Promise<void> {
    if ((await run(["wg", "--version"])).code !== 0) {
      throw new AppError("missing_tool", "the WireGuard gateway needs the program wg (package wireguard-tools)");
    }
    await removeDevice();
    const inKernel = await run(["ip", "link", "add", "dev", DEVICE, "type", "wireguard"]);
    if (inKernel.code !== 0) {
      this.#by = "wireguard-go";
      await this.#startProgram();
    }
    await mustRun(["wg", "set", DEVICE, "private-key", this.#options.keyFile]);
    await mustRun(["ip", "link", "set", "dev", DEVICE, "mtu", `${MTU}`, "addrgenmode", "none", "up"]);
    this.#port = Number((await mustRun(["wg", "show", DEVICE, "listen-port"])).trim());
  }

  async #startProgram(): Promise<void> {
    // It ends with us, however we end.
    const argv = ["--pdeathsig", "KILL", "wireguard-go", "--foreground", DEVICE];
    const child = spawn("setpriv", argv, {
      stdio: ["ignore", "ignore", "pipe"],
      env: { PATH: systemPath(), LOG_LEVEL: "error" },
    });
    let said = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      said = (said + text).slice(-2000);
    });
    let ended = false;
    child.once("error", () => {
      ended = true;
    });
    child.once("exit", () => {
      ended = true;
      if (this.#process !== child) return;
      this.#process = undefined;
      if (!this.#closing) this.#options.onEnded();
    });
    for (let tries = 0; !ended && tries < START_TRIES; tries++) {
      // It listens for `wg` once its interface is there. Asked without `wg`, which removes sockets that do not answer yet.
      if (await answers(SOCKET)) {
        this.#process = child;
        return;
      }
      await sleep(this.#options.clock, POLL);
    }
    child.kill("SIGKILL");
    throw startError(said);
  }

  /** Lets clients in. */
  async add(tunnels: readonly Tunnel[]): Promise<void> {
    const sections = tunnels.map(({ publicKey, cidr }) => `[Peer]\nPublicKey = ${publicKey}\nAllowedIPs = ${cidr}\n`);
    // Through `cat`: our own pipes are sockets, which cannot be opened by a name.
    await mustRun(["sh", "-c", `cat | wg addconf ${DEVICE} /dev/stdin`], sections.join(""));
  }

  /** Cuts clients off: not one packet more is read from them. */
  async remove(publicKeys: readonly string[]): Promise<void> {
    await mustRun(["wg", "set", DEVICE, ...publicKeys.flatMap((key) => ["peer", key, "remove"])]);
  }

  async close(): Promise<void> {
    this.#closing = true;
    const child = this.#process;
    this.#process = undefined;
    if (child !== undefined) {
      const gone = once(child, "exit");
      child.kill("SIGKILL");
      await gone;
    }
    await removeDevice();
  }
}

/** What a gateway has in our namespace and in /run: in host mode an earlier life of the node, killed, may have left it. */
export async function removeDevice(): Promise<void> {
  await rm(SOCKET, { force: true });
  await run(["ip", "link", "del", "dev", DEVICE]);
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

function startError(said: string): AppError {
  if (/ENOENT|No such file or directory.*wireguard-go|failed to execute wireguard-go/.test(said)) {
    return new AppError(
      "missing_tool",
      "this kernel has no WireGuard, and the program wireguard-go (package wireguard-go) is not installed",
    );
  }
  if (/\/dev\/net\/tun/.test(said)) {
    return new AppError("no_privilege", "the WireGuard gateway needs /dev/net/tun, which cannot be opened here");
  }
  return new AppError("internal", `wireguard-go did not start: ${said.trim().split("\n").at(-1) ?? ""}`);
}
