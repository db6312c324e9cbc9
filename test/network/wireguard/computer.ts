/** A computer for tests, and laptops on its local network: namespaces, so that fixed ports are free and nothing is touched. */
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export function run(argv: readonly string[], input = "", cwd = "/"): Promise<Ran> {
  const [file = "", ...args] = argv;
  return new Promise((resolve) => {
    const child = spawn(file, args, { stdio: ["pipe", "pipe", "pipe"], cwd });
    let out = "";
    let err = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (err += text));
    child.stdin.on("error", () => undefined);
    child.stdin.end(input);
    child.once("error", (error) => resolve({ code: 127, out, err: error.message }));
    child.once("close", (code) => resolve({ code: code ?? 128, out, err }));
  });
}

async function must(argv: readonly string[], input = ""): Promise<string> {
  const ran = await run(argv, input);
  if (ran.code !== 0) throw new Error(`${argv.join(" ")}: ${ran.err}`);
  return ran.out;
}

/** Root makes namespaces by right, others in a user namespace. */
const IS_ROOT = process.getuid?.() === 0;

/** A shell that holds namespaces until we are gone: it reads from us, and reads an end then. */
class Holder {
  readonly #child: ChildProcess;
  readonly enter: readonly string[];

  private constructor(child: ChildProcess) {
    this.#child = child;
    const user = IS_ROOT ? [] : ["--user", "--preserve-credentials"];
    this.enter = ["nsenter", `--target=${child.pid}`, ...user, "--net", "--mount"];
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  static async make(outer: readonly string[], unshare: readonly string[], script: string): Promise<Holder> {
    const [file, ...args] = [...outer, "unshare", ...unshare, "sh", "-c", `${script}\necho ready; exec cat >/dev/null`];
    const child = spawn(file, args, { stdio: ["pipe", "pipe", "inherit"] });
    const [first] = await Promise.race([once(child.stdout, "data"), once(child, "exit")]);
    if (!String(first).startsWith("ready")) throw new Error("namespaces for a test cannot be made");
    return new Holder(child);
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const gone = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await gone;
  }
}

/** Why there can be none here; undefined when there can. */
export function cannotMakeComputers(): string | undefined {
  const programs = ["wg", "wireguard-go", "curl", "dig"].filter((name) => spawnSync(name, ["--version"]).error);
  if (programs.length > 0) return `missing: ${programs.join(", ")}`;
  const made = spawnSync("unshare", [...(IS_ROOT ? [] : ["--user", "--map-root-user"]), "--net", "--mount", "true"]);
  return made.status === 0 ? undefined : "namespaces cannot be made";
}

export class Computer {
  readonly #holder: Holder;
  readonly #laptops: Laptop[] = [];

  private constructor(holder: Holder) {
    this.#holder = holder;
  }

  /** `withoutNft`: a computer on which nftables is not installed. */
  static async boot(options: { readonly withoutNft?: boolean } = {}): Promise<Computer> {
    const hide = options.withoutNft === true ? `mount --bind /bin/false "$(command -v nft)" || exit 1` : "";
    const script = `PATH=$PATH:/usr/sbin:/sbin\nip link set lo up || exit 1\n${hide}`;
    const user = IS_ROOT ? [] : ["--user", "--map-root-user"];
    return new Computer(await Holder.make([], [...user, "--net", "--mount"], script));
  }

  /** argv to put before a command. Its working folder is `/`. */
  get enter(): readonly string[] {
    return this.#holder.enter;
  }

  /** The address of the computer that laptop number `number` (from 1) sees. */
  static address(number: number): string {
    return `10.77.${number}.1`;
  }

  /** A laptop on a cable of its own. It reaches the computer at `Computer.address`, and nobody else. */
  async laptop(): Promise<Laptop> {
    const number = this.#laptops.length + 1;
    // What programs say to each other under /run is the laptop's own, as is its /etc/resolv.conf.
    const script = "mount -t tmpfs tmpfs /run && ip link set lo up || exit 1";
    const holder = await Holder.make(this.enter, ["--net", "--mount"], script);
    const laptop = new Laptop(holder);
    this.#laptops.push(laptop);
    const ours = ["ip", "link", "add", `lan${number}`, "type", "veth"];
    await must([...this.enter, ...ours, "peer", "name", "lan", "netns", `${holder.pid}`]);
    await must([...this.enter, "ip", "addr", "add", `10.77.${number}.1/24`, "dev", `lan${number}`]);
    await must([...this.enter, "ip", "link", "set", `lan${number}`, "up"]);
    await must([...laptop.enter, "ip", "addr", "add", `10.77.${number}.2/24`, "dev", "lan"]);
    await must([...laptop.enter, "ip", "link", "set", "lan", "up"]);
    return laptop;
  }

  async end(): Promise<void> {
    for (const laptop of this.#laptops) await laptop.end();
    await this.#holder.end();
  }
}

/** `[Interface]` and `[Peer]` of a client's file: what `wg-quick` would do with each line. */
function valueOf(config: string, key: string): string {
  const value = new RegExp(`^${key} = (.*)$`, "m").exec(config)?.[1];
  if (value === undefined) throw new Error(`the file lacks ${key}`);
  return value;
}

export class Laptop {
  readonly #holder: Holder;
  readonly #folder = mkdtempSync(join(tmpdir(), "flycast-laptop-"));
  #tunnel: ChildProcess | undefined;

  constructor(holder: Holder) {
    this.#holder = holder;
  }

  get enter(): readonly string[] {
    return this.#holder.enter;
  }

  run(...command: readonly string[]): Promise<Ran> {
    return run([...this.enter, ...command]);
  }

  /**
   * Does what `wg-quick up` does, with its own tools, on a tun device: `wg-quick strip`, `wg setconf`, address, route and DNS.
   * `endpoint`: where this laptop sees the computer, if not where the file says.
   */
  async join(config: string, endpoint?: string): Promise<void> {
    const path = join(this.#folder, "fly.conf");
    const text = endpoint === undefined ? config : config.replace(/^(Endpoint = ).*(:\d+)$/m, `$1${endpoint}$2`);
    writeFileSync(path, text, { mode: 0o600 });
    const [file, ...args] = [...this.enter, "wireguard-go", "--foreground", "wg0"];
    this.#tunnel = spawn(file ?? "", args, { stdio: ["ignore", "ignore", "ignore"] });
    while ((await this.run("wg", "show", "wg0")).code !== 0) {
      if (this.#tunnel.exitCode !== null) throw new Error("wireguard-go ended");
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await must([...this.enter, "sh", "-c", `wg-quick strip ${path} > /run/stripped && wg setconf wg0 /run/stripped`]);
    await must([...this.enter, "ip", "addr", "add", valueOf(text, "Address"), "dev", "wg0", "nodad"]);
    await must([...this.enter, "ip", "link", "set", "wg0", "mtu", "1420", "up"]);
    await must([...this.enter, "ip", "-6", "route", "add", valueOf(text, "AllowedIPs"), "dev", "wg0"]);
    writeFileSync(
      join(this.#folder, "resolv.conf"),
      `nameserver ${valueOf(text, "DNS")}\noptions timeout:2 attempts:2\n`,
    );
    await must([...this.enter, "mount", "--bind", join(this.#folder, "resolv.conf"), "/etc/resolv.conf"]);
  }

  /** The handshake anew, at once: by itself a client that hears nothing tries it after fifteen seconds. */
  async rehandshake(): Promise<void> {
    const stripped =
      "wg showconf wg0 > /run/again && wg set wg0 peer $(wg show wg0 peers) remove && wg setconf wg0 /run/again";
    await must([...this.enter, "sh", "-c", stripped]);
  }

  async end(): Promise<void> {
    const tunnel = this.#tunnel;
    if (tunnel !== undefined && tunnel.exitCode === null) {
      const gone = once(tunnel, "exit");
      tunnel.kill("SIGKILL");
      await gone;
    }
    await this.#holder.end();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
