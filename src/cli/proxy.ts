import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { fileURLToPath } from "node:url";
import type { NodeStatus } from "../api/status.ts";
import { AppError } from "../core/errors.ts";
import { appOption } from "./app-option.ts";
import { ApiClient } from "./client.ts";
import { enterNetwork } from "./client-place.ts";
import { EXIT, print, printJson } from "./output.ts";
import type { GlobalOptions } from "./command.ts";

interface Options extends GlobalOptions {
  readonly app?: string;
  readonly org?: string;
  readonly network?: string;
  readonly bindAddr?: string;
}

/** A local port that leads to a private one, until Ctrl-C. Connecting wakes what it touches. */
export async function run(options: Options, args: readonly string[]): Promise<number> {
  const ports = /^(\d+)(?::(\d+))?$/.exec(args[0] ?? "");
  const local = Number(ports?.[1]);
  const remote = Number(ports?.[2] ?? ports?.[1]);
  if (!(local <= 65_535 && remote >= 1 && remote <= 65_535)) {
    process.stderr.write("Error: ports are LOCAL:REMOTE, such as 15432:5432, and at most 65535\n");
    return EXIT.usage;
  }
  const client = new ApiClient(options);
  const host = args[1] ?? `${await appOption(client, options)}.flycast`;
  const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true });
  const arrivals = arrivalsOf(server);
  await listen(server, options.bindAddr ?? "127.0.0.1", local);
  const bound = server.address();
  const port = typeof bound === "object" && bound !== null ? bound.port : local;

  const status = (await client.get("/flycast/v1/status")) as NodeStatus;
  const way =
    status.mode === "loopback"
      ? forwardHere(arrivals, status, host, remote)
      : await forwardInside(server, arrivals, client, options, host, remote);
  if (options.json === true) printJson({ local: port, remote: `${host}:${remote}` });
  else print(`Proxying localhost:${port} to remote [${host}]:${remote}`);
  await Promise.race([once(process, "SIGINT"), once(process, "SIGTERM"), way.lost]);
  way.end();
  if (server.listening) server.close();
  return EXIT.done;
}

async function listen(server: Server, host: string, port: number): Promise<void> {
  server.listen(port, host);
  try {
    await once(server, "listening");
  } catch (cause) {
    throw new AppError(
      "port_taken",
      `cannot listen on ${host}:${port}: ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause },
    );
  }
}

/** Gives each connection to `taker`, those that came before there was one included. */
type Arrivals = (taker: (socket: Socket) => void) => void;

/** The kernel accepts from the first moment, long before we know where connections go. */
function arrivalsOf(server: Server): Arrivals {
  const early: Socket[] = [];
  let take = (socket: Socket): void => void early.push(socket);
  server.on("connection", (socket) => take(socket));
  return (taker) => {
    take = taker;
    for (const socket of early.splice(0)) taker(socket);
  };
}

/** Where connections go. */
interface Way {
  /** Rejects when it leads nowhere any more. @errors node_unreachable */
  readonly lost: Promise<never>;
  end(): void;
}

/** Loopback mode: the private port is published already. */
function forwardHere(arrivals: Arrivals, status: NodeStatus, host: string, remote: number): Way {
  const app = host.replace(/\.(?:flycast|internal)$/, "");
  const service = status.apps.flatMap((a) => a.services).find((s) => s.app === app && s.port === remote);
  const target = /^(.*):(\d+)$/.exec(service?.published ?? "");
  if (target === null)
    throw new AppError("not_found", `${host} has no published port ${remote}`, { details: { next: "flycast status" } });
  arrivals((socket) => {
    const upstream = connect({ host: target[1] ?? "", port: Number(target[2]), allowHalfOpen: true, noDelay: true });
    socket.on("error", () => upstream.destroy());
    upstream.on("error", () => socket.destroy());
    socket.pipe(upstream).pipe(socket);
  });
  // The next connection tells when the node is gone, and a node that comes again has the same ports.
  return { lost: new Promise(() => undefined), end: () => undefined };
}

/** Lab: a small process that is a client of the network takes the listener over. */
async function forwardInside(
  server: Server,
  arrivals: Arrivals,
  client: ApiClient,
  options: Options,
  host: string,
  remote: number,
): Promise<Way> {
  const entry = fileURLToPath(
    new URL(import.meta.url.endsWith(".ts") ? "./proxy-inside.ts" : "./proxy-inside.js", import.meta.url),
  );
  const [file, ...args] = [
    ...(await enterNetwork(client, options)),
    process.execPath,
    ...process.execArgv,
    entry,
    host,
    String(remote),
  ];
  const child = spawn(file, args, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  const failed = once(child, "exit").then(() => {
    throw new AppError("node_unreachable", "the network could not be entered");
  });
  await Promise.race([once(child, "message"), failed]);
  const lost = failed.catch((cause: unknown) => {
    throw new AppError("node_unreachable", "the node has ended, and its networks with it", { cause });
  });
  // Whoever waits for it comes later.
  lost.catch(() => undefined);
  child.send("listener", server);
  // Both copies would accept: ours goes as soon as the other listens.
  await Promise.race([once(child, "message"), failed]);
  server.close();
  arrivals((socket) => child.send("connection", socket));
  return { lost, end: () => void child.kill() };
}
