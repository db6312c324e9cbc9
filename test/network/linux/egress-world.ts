/** A computer of its own for tests of the way out, with an Internet behind it: nothing of this computer is touched. */
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";

/** Where the Internet answers, and the computer's own addresses; on port 80 everybody says who asked. */
export const INTERNET = "203.0.113.9";
export const METADATA = "169.254.169.254";
export const COMPUTER = ["192.0.2.2", "10.9.9.1"] as const;

const SERVER = `
require("node:http").createServer((request, response) => response.end(process.argv[1] + " saw " + request.socket.remoteAddress))
  .listen(80, "0.0.0.0", () => console.log("ready"));
process.stdin.resume().on("end", () => process.exit(0));
`;

export class World {
  readonly #computer: ChildProcess;
  readonly #internet: ChildProcess;

  private constructor(computer: ChildProcess, internet: ChildProcess) {
    this.#computer = computer;
    this.#internet = internet;
  }

  static async make(): Promise<World> {
    const world = new World(await serverInside("computer"), await serverInside("internet"));
    const lines = [
      "ip link set lo up",
      `ip link add up0 type veth peer name inet0 netns ${world.#internet.pid}`,
      "ip addr add 192.0.2.2/24 dev up0 && ip link set up0 up && ip route add default via 192.0.2.1",
      "ip link add other0 type veth peer name other1",
      "ip addr add 10.9.9.1/24 dev other0 && ip link set other0 up && ip link set other1 up",
      "echo 0 > /proc/sys/net/ipv4/ip_forward",
    ];
    world.onComputer("sh", "-ec", lines.join("\n"));
    const far = [
      "ip link set lo up",
      "ip addr add 192.0.2.1/24 dev inet0 && ip link set inet0 up",
      `ip addr add ${INTERNET}/32 dev lo && ip addr add ${METADATA}/32 dev lo`,
      "ip route add 172.19.0.0/16 via 192.0.2.2 && ip route add 10.9.9.0/24 via 192.0.2.2",
    ];
    world.onInternet("sh", "-ec", far.join("\n"));
    return world;
  }

  /** argv to put before a command. */
  get enter(): readonly string[] {
    return ["nsenter", `--net=/proc/${this.#computer.pid}/ns/net`];
  }

  /** The same on a computer where these programs do nothing but fail. */
  without(...programs: readonly string[]): readonly string[] {
    const hide = programs.map((program) => `mount --bind /bin/false "$(command -v ${program})"`).join(" && ");
    return [...this.enter, "unshare", "--mount", "sh", "-c", `${hide} && exec "$@"`, "sh"];
  }

  onComputer(...argv: readonly string[]): string {
    return output([...this.enter, ...argv]);
  }

  onInternet(...argv: readonly string[]): string {
    return output(["nsenter", `--net=/proc/${this.#internet.pid}/ns/net`, ...argv]);
  }

  /** What of ours is on the computer. */
  traces(): { readonly tables: readonly string[]; readonly links: readonly string[]; readonly forwarding: string } {
    const found = (text: string, pattern: RegExp): readonly string[] => text.match(pattern) ?? [];
    return {
      tables: found(this.onComputer("nft", "list", "tables"), /flycast\w*/g),
      links: found(this.onComputer("ip", "-o", "link"), /flyexit\d+/g),
      forwarding: this.onComputer("cat", "/proc/sys/net/ipv4/ip_forward").trim(),
    };
  }

  async end(): Promise<void> {
    const servers = [this.#computer, this.#internet];
    await Promise.all(
      servers.map(async (server) => {
        if (server.exitCode !== null || server.signalCode !== null) return;
        server.kill("SIGKILL");
        await once(server, "exit");
      }),
    );
  }
}

/** A web server in a network namespace of its own. It ends with us, and the namespace with it. */
async function serverInside(name: string): Promise<ChildProcess> {
  const child = spawn("unshare", ["--net", process.execPath, "-e", SERVER, name], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  return child;
}

function output([file = "", ...args]: readonly string[]): string {
  return execFileSync(file, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}
