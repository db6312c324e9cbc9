/** The way out without root: a program that takes the Machines' packets from a tap device and opens ordinary sockets for them. */
import { spawn, type ChildProcess } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { AppError } from "../../core/errors.ts";
import { ownAddresses } from "./exit-link.ts";
import { systemPath } from "./run.ts";
import type { ExitFacts } from "./wire.ts";

type Program = "pasta" | "slirp4netns";

/** slirp4netns calls itself `.2` and its guest `.100`; nobody sees them but the core. */
const NET = "169.254.96.0/24";
const GATEWAY = "169.254.96.2";
const ADDRESS = "169.254.96.100";

/** From the start of the program to its tap device. */
const OPEN_TIMEOUT = 5000;

/**
 * Ends the program when our end of the pipe closes, which SIGKILL of this process does as well. The program would go on
 * for ever: a namespace lives as long as somebody holds it.
 */
const WATCH = `
exec 3<&0
"$@" < /dev/null 3<&- & program=$!
( read -r end <&3; kill -KILL $program 2>/dev/null ) &
exec 3<&-
wait $program
`;

interface UserExit {
  /** Resolves when the program has ended before it was told to. */
  readonly lost: Promise<void>;
  readonly facts: Extract<ExitFacts, { open: true }>;
  close(): Promise<void>;
}

/** `userNamespace`: path of the namespace's owner; undefined as root. @errors missing_tool, internal with the program's words */
export async function openUserExit(
  program: Program,
  pid: number,
  inside: string,
  userNamespace?: string,
): Promise<UserExit> {
  if (!isInstalled(program)) throw new AppError("missing_tool", `${program} is not installed`);
  const argv = program === "pasta" ? pastaArgv(pid, inside) : slirpArgv(pid, inside, userNamespace);
  const child = spawn("sh", ["-c", WATCH, "flycast-exit", ...argv], {
    stdio: ["pipe", "ignore", "pipe"],
    // Ctrl-C is for us: connections drain, and they need their way out as long.
    detached: true,
    env: { ...process.env, PATH: systemPath() },
  });
  const { close, lost } = endsOf(child);
  try {
    await tapDevice(child, program, pid, inside);
  } catch (error) {
    await close();
    throw error;
  }
  return {
    facts: { open: true, by: program, address: ADDRESS, prefix: 24, gateway: GATEWAY, own: ownAddresses() },
    lost,
    close,
  };
}

/** No port of the computer is opened, nor its loopback reached by way of the gateway's address. */
function pastaArgv(pid: number, inside: string): readonly string[] {
  const ports = ["-t", "none", "-u", "none", "-T", "none", "-U", "none", "--no-map-gw"];
  const silent = ["--no-dhcp", "--no-dhcpv6", "--no-ndp", "--no-ra"];
  const link = ["-I", inside, "-a", ADDRESS, "-n", "24", "-g", GATEWAY];
  return ["pasta", "--foreground", "--quiet", "--ipv4-only", ...ports, ...silent, ...link, `${pid}`];
}

function slirpArgv(pid: number, inside: string, userNamespace: string | undefined): readonly string[] {
  const user = userNamespace === undefined ? [] : [`--userns-path=${userNamespace}`];
  return ["slirp4netns", "--disable-host-loopback", "--disable-dns", `--cidr=${NET}`, ...user, `${pid}`, inside];
}

function endsOf(child: ChildProcess): Pick<UserExit, "close" | "lost"> {
  let told = false;
  const ended = new Promise<void>((resolve) => {
    child.once("exit", () => {
      // Lets the watcher go too.
      child.stdin?.destroy();
      resolve();
    });
    child.once("error", () => resolve());
  });
  child.stdin?.on("error", () => undefined);
  return {
    lost: ended.then(() => (told ? new Promise<void>(() => undefined) : undefined)),
    close() {
      told = true;
      child.stdin?.destroy();
      return ended;
    },
  };
}

/** Resolves once the device is there. What the program says after that is for nobody. */
async function tapDevice(child: ChildProcess, program: Program, pid: number, inside: string): Promise<void> {
  let said = "";
  let ended = false;
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    if (said.length < 4096) said += text;
  });
  child.once("close", () => (ended = true));
  child.once("error", () => (ended = true));
  const deadline = performance.now() + OPEN_TIMEOUT;
  const device = new RegExp(`^ *${inside}:`, "m");
  while (!device.test(await readFile(`/proc/${pid}/net/dev`, "utf8"))) {
    if (ended) throw new AppError("internal", `${program} ended: ${lastLine(said)}`);
    if (performance.now() > deadline) throw new AppError("internal", `${program} made no device in time`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function lastLine(text: string): string {
  return text.trim().split("\n").at(-1)?.slice(0, 200) ?? "";
}

function isInstalled(program: string): boolean {
  return systemPath()
    .split(":")
    .some((folder) => {
      try {
        accessSync(join(folder, program), constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}
