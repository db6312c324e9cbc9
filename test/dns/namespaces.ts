import { execFile, execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const UNSHARE = [...(process.getuid?.() === 0 ? [] : ["--user", "--map-root-user"]), "--net", "--mount"];

/** Why there can be no namespaces here; undefined when there can. Found out by making one. */
export function whyNoNamespaces(programs: readonly string[]): string | undefined {
  for (const program of ["unshare", "nsenter", "ip", ...programs]) {
    try {
      execFileSync("sh", ["-c", `command -v ${program}`], { stdio: "ignore" });
    } catch {
      return `${program} is missing`;
    }
  }
  try {
    const probe = "ip link set lo up && ip link add name probe0 type veth peer name probe1 && mount -t tmpfs none /mnt";
    execFileSync("unshare", [...UNSHARE, "sh", "-c", probe], { stdio: "pipe" });
  } catch (error) {
    return `no namespace can be made: ${String(error).replaceAll("\n", " ")}`;
  }
  return undefined;
}

/** A network and mount namespace that lives as long as one process in it. */
export class Namespace {
  readonly #holder: ChildProcess;
  readonly #folder: string;

  private constructor(holder: ChildProcess, folder: string) {
    this.#holder = holder;
    this.#folder = folder;
  }

  /** `beside`: one that it shall be linked to, and so must share the user namespace with. */
  static async open(beside?: Namespace): Promise<Namespace> {
    const [program = "", ...args] =
      beside === undefined || !UNSHARE.includes("--user")
        ? ["unshare", ...UNSHARE]
        : ["nsenter", `--target=${beside.pid}`, "--user", "--preserve-credentials", "unshare", "--net", "--mount"];
    const holder = spawn(program, [...args, "sh", "-c", "ip link set lo up && echo up && exec cat"], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    await once(holder.stdout, "data");
    return new Namespace(holder, mkdtempSync(join(tmpdir(), "flycast-dns-")));
  }

  get pid(): number {
    return this.#holder.pid ?? 0;
  }

  /** argv that enters it. */
  get enter(): readonly string[] {
    const user = UNSHARE.includes("--user") ? ["--user", "--preserve-credentials"] : [];
    return ["nsenter", `--target=${this.pid}`, ...user, "--net", "--mount"];
  }

  /** Runs a program inside; what it printed. */
  async run(command: string, ...args: readonly string[]): Promise<string> {
    const [program = "", ...before] = this.enter;
    const { stdout } = await run(program, [...before, command, ...args], { cwd: "/", maxBuffer: 1 << 24 });
    return stdout;
  }

  sh(script: string): Promise<string> {
    return this.run("sh", "-ec", script);
  }

  spawn(command: string, ...args: readonly string[]): ChildProcess {
    const [program = "", ...before] = this.enter;
    return spawn(program, [...before, command, ...args], { stdio: ["pipe", "pipe", "pipe"] });
  }

  /** A file of its own at a path that exists outside too. */
  async file(path: string, content: string): Promise<void> {
    const own = join(this.#folder, path.replaceAll("/", "_"));
    writeFileSync(own, content);
    await this.run("mount", "--bind", own, realpathSync(path));
  }

  /** Ends everything in it. */
  async close(): Promise<void> {
    const ended = once(this.#holder, "exit");
    this.#holder.stdin?.end();
    await ended;
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** A client's namespace with one address, whose only way leads to `server`, and whose resolver is `fdaa::3`. */
export async function joinClient(server: Namespace, name: string, address: string): Promise<Namespace> {
  const client = await Namespace.open(server);
  await client.sh(`
    ip link add name eth0 type veth peer name ${name} netns ${server.pid}
    ip link set eth0 addrgenmode none up
    ip addr add ${address}/128 dev eth0 nodad
    ip addr add fe80::2/64 dev eth0 nodad
    ip route add default via fe80::1 dev eth0 src ${address}
    [ ! -d /run/nscd ] || mount -t tmpfs none /run/nscd`);
  await server.sh(`
    ip link set ${name} addrgenmode none up
    ip addr add fe80::1/64 dev ${name} nodad
    ip route add ${address} dev ${name}`);
  await client.file("/etc/resolv.conf", "nameserver fdaa::3\n");
  await client.file("/etc/nsswitch.conf", "hosts: files dns\n");
  return client;
}

/** Starts test/dns/private-server.ts inside, and waits until it listens. */
export async function startPrivateServer(server: Namespace, addresses: readonly string[]): Promise<ChildProcess> {
  await server.sh(addresses.map((address) => `ip addr add ${address}/128 dev lo nodad`).join("\n"));
  const tsx = fileURLToPath(import.meta.resolve("tsx"));
  const program = fileURLToPath(new URL("private-server.ts", import.meta.url));
  const child = server.spawn(process.execPath, "--import", tsx, program);
  let errors = "";
  child.stderr?.on("data", (chunk: Buffer) => (errors += chunk.toString()));
  await Promise.race([
    once(child.stdout!, "data"),
    once(child, "exit").then(() => Promise.reject(new Error(`the server ended: ${errors}`))),
  ]);
  return child;
}
