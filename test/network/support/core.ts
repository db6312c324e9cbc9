/** The core of a test lab: does what it is told over the channel, with the modules that production uses. */
import { execFileSync, spawn } from "node:child_process";
import { readdirSync, readlinkSync } from "node:fs";
import type { Socket as UdpSocket } from "node:dgram";
import { networkInterfaces } from "node:os";
import { connect, type Server, type Socket } from "node:net";
import { connectOuter } from "../../../src/network/linux/core-side.ts";
import { createLinuxPlane } from "../../../src/network/linux/plane.ts";
import type { HostId, MachineId, NetworkId } from "../../../src/core/ids.ts";
import { machineAddress } from "../../../src/network/address.ts";
import type { ClientPlace, Place } from "../../../src/network/plane.ts";
import type { CoreCommand, RanCommand } from "./lab.ts";

const outer = await connectOuter();
const stateDir = process.argv[2] ?? "/nonexistent";
const nftables = process.argv[3] !== "routing-rules";
const plane = await createLinuxPlane({
  mode: outer.facts.persistent === undefined ? "lab" : "host",
  stateDir,
  outer: outer.facts,
  computer: outer.computer,
  nftables,
  spare: Number(process.argv[4]),
});
const places = new Map<string, Place>();
const clients: ClientPlace[] = [];
const servers = new Map<string, Server>();
const udps: UdpSocket[] = [];

/** Says where the connection came from and went to, then half-closes as the client does. */
function introduce(socket: Socket): void {
  socket.on("error", () => undefined);
  const who = `${socket.remoteAddress} ${socket.localAddress} ${socket.localPort}\n`;
  socket.once("data", () => socket.end(who));
  socket.once("end", () => socket.end(who));
}

function inMachine(command: Extract<CoreCommand, { do: "run" | "start" | "admin" }>): Promise<RanCommand> {
  const place = places.get(command.machine)!;
  const folder = command.do === "run" ? (command.folder ?? "/") : "/";
  const enter = place.enter({ folder, user: command.do === "run" ? command.user : undefined });
  // An administrator enters the namespaces and keeps the rights that setpriv would take away.
  const prefix =
    command.do === "admin"
      ? enter.slice(
          0,
          enter.findIndex((word) => word.endsWith("/setpriv")),
        )
      : enter;
  const [file = "", ...args] = [...prefix, ...command.command];
  return new Promise((resolve) => {
    const child = spawn(file, args, {
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
      env: { ...process.env, ...place.env },
    });
    let out = "";
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (text: string) => (out += text));
    child.once("error", (error) => resolve({ code: -1, out: error.message }));
    child.once("close", (code) => resolve({ code: code ?? -1, out: out.trim() }));
  });
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}

async function obey(command: CoreCommand): Promise<unknown> {
  switch (command.do) {
    case "network":
      return plane.addNetwork(command.network as NetworkId);
    case "remove-network":
      return plane.removeNetwork(command.network as NetworkId);
    case "place": {
      const address = machineAddress(command.network as NetworkId, 7 as HostId, command.part);
      const place = await plane.place({
        id: command.machine as MachineId,
        network: command.network as NetworkId,
        address,
        mounts: command.mounts ?? [],
        files: command.files ?? [],
        hidden: command.hidden ?? [],
        ports: [],
      });
      places.set(command.machine, place);
      return { address, link: place.dial(1)[0]?.host };
    }
    case "unplace":
      return plane.unplace(command.machine as MachineId);
    case "run":
    case "admin":
      return inMachine(command);
    case "start":
      void inMachine(command);
      return undefined;
    case "members":
      return places.get(command.machine)!.members();
    case "listen-private": {
      const server = await plane.listenPrivate(command.port);
      server?.on("connection", introduce);
      return undefined;
    }
    case "doors":
      return plane.onServiceDoor((door) => {
        door.dnsUdp.on("message", (message, from) =>
          door.dnsUdp.send(`${door.address} ${message.toString()}`, from.port, from.address),
        );
        door.dnsTcp.on("connection", introduce);
        door.api.on("connection", introduce);
      });
    case "outside-listen": {
      const server = await outer.outside.listen("127.0.0.1", command.port);
      server.on("connection", introduce);
      servers.set(String((server.address() as { port: number }).port), server);
      return server.address();
    }
    case "outside-close":
      servers.get(String(command.port))?.close();
      return undefined;
    case "outside-udp": {
      const socket = await outer.outside.bindUdp("127.0.0.1", 0);
      socket.on("message", (message, from) => socket.send(`echo ${message.toString()}`, from.port, from.address));
      udps.push(socket);
      return socket.address();
    }
    case "outside-dial": {
      const socket = await outer.outside.dial("127.0.0.1", command.port);
      return new Promise((resolve) => {
        let out = "";
        socket.setEncoding("utf8").on("data", (text: string) => (out += text));
        socket.once("end", () => resolve(out));
        socket.end(command.say);
      });
    }
    case "dial": {
      const host = command.host ?? places.get(command.machine)!.dial(command.port)[0]!.host;
      return new Promise((resolve) => {
        const socket = connect(command.port, host);
        socket.once("connect", () => resolve(true));
        socket.once("error", (error) => resolve(error.message));
        socket.once("close", () => socket.destroy());
      });
    }
    case "throttle":
      return plane.throttle?.(command.network as NetworkId, command.perSecond);
    case "unthrottle":
      return plane.unthrottle?.(command.network as NetworkId);
    case "refused":
      return plane.refused();
    case "links":
      return Object.keys(networkInterfaces()).filter((name) => name.startsWith("fc"));
    case "neighbours":
      return execFileSync("ip", ["neigh"], { encoding: "utf8" });
    case "holdings":
      return {
        links: Object.keys(networkInterfaces()).filter((name) => name.startsWith("fc")),
        descriptors: readdirSync("/proc/self/fd").filter((fd) => /^(net|mnt):/.test(linkOf(`/proc/self/fd/${fd}`)))
          .length,
        files: readdirSync("/run/flycast/lab").filter((name) => !name.startsWith(".")),
        rules: nftables
          ? execFileSync("nft", ["list", "table", "inet", "flycast"], { encoding: "utf8" }).match(/"fc\w+" \./g)
          : execFileSync("ip", ["-6", "rule"], { encoding: "utf8" }).match(/iif fc\w+/g),
      };
    case "client": {
      const client = await plane.client(command.network as NetworkId);
      clients.push(client);
      return { address: client.address, enter: client.enter, owner: client.owner };
    }
    case "release-clients":
      for (const client of clients.splice(0)) client.release();
      return undefined;
    case "join-host":
      return plane.joinHost?.(command.network as NetworkId);
    case "pid":
      return process.pid;
    case "hang":
      for (;;);
    case "close":
      return plane.close();
  }
}

outer.onMessage((message) => {
  const { id, command } = message as { id: number; command: CoreCommand };
  obey(command).then(
    (value) => outer.send({ id, value }),
    (error: unknown) => outer.send({ id, error: error instanceof Error ? error.message : String(error) }),
  );
});
outer.send({ ready: true });
