import { once } from "node:events";
import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { createCloseness } from "../../src/balancer/closeness.ts";
import { systemClock } from "../../src/core/clock.ts";
import { ms, seconds } from "../../src/core/units.ts";
import type { Limits, Service } from "../../src/config/model.ts";
import type { ProcessDriver } from "../../src/machines/drivers/process-driver.ts";
import { createProcessDriver } from "../../src/machines/drivers/process.ts";
import type { MachineEvent } from "../../src/machines/events.ts";
import type { Machines } from "../../src/machines/machines.ts";
import { createMachines } from "../../src/machines/supervisors.ts";
import { flycastAddress } from "../../src/network/address.ts";
import { createLoopbackPlane } from "../../src/network/loopback.ts";
import type { Settlement } from "../../src/proxy/context.ts";
import { createProxy } from "../../src/proxy/proxy.ts";
import type { WallTime } from "../../src/core/units.ts";
import { PLAIN_LIMITS } from "../support/plain-values.ts";
import { APP, HOME, IAD, machine, machineId, MemoryRegistry, service, check } from "./world.ts";

const LIMITS: Limits = {
  ...PLAIN_LIMITS,
  wakeTimeout: seconds(30),
  queueLength: 2000,
  connectTimeout: seconds(10),
  drainTimeout: seconds(30),
  perNetwork: 1,
};

const LISTEN = "server.listen({ port: process.env.PORT, host: process.env.HOST, backlog: 2048 })";
/** Answers each line with itself, prefixed by how many lines it has answered in its life. */
const ECHO = `let n = 0; const server = require("node:net").createServer((s) => {
  s.on("error", () => {}); s.on("data", (d) => s.write(++n + ":" + d)); }); ${LISTEN}`;

interface Node {
  readonly machines: Machines;
  readonly events: MachineEvent[];
  readonly settled: Settlement[];
  readonly driver: ProcessDriver;
  /** A client's connection to the app; its errors are kept out of the process. */
  dial(): Socket;
  /** Resolves when an event of that kind has happened so many times. */
  happened(event: MachineEvent["event"], times?: number): Promise<void>;
}

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

/** Machines that are real processes, a real proxy before them, on loopback. One app, one Machine a script. */
async function node(
  scripts: readonly string[],
  how: { service?: Partial<Service>; interval?: number; idle?: number } = {},
): Promise<Node> {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "flycast-real-")));
  closers.push(() => rmSync(folder, { recursive: true, force: true }));
  const registry = new MemoryRegistry();
  const clock = systemClock;
  const quiet = { debug() {}, info() {}, warn() {}, error() {} };
  const plane = createLoopbackPlane();
  const driver = await createProcessDriver({ plane, stateDir: folder, clock, outlive: false, log: quiet });
  closers.push(() => driver.close());
  registry.addApp(APP, IAD);
  const address = flycastAddress(HOME, 1);
  registry.apply({ kind: "address", value: { address, app: APP, network: HOME, createdAt: 0 as WallTime } });
  for (const [index, script] of scripts.entries()) {
    const config = { command: [process.execPath, "-e", script], folder };
    registry.apply({ kind: "machine", value: machine(index + 1, { services: [service(how.service)], config }) });
  }
  const events: MachineEvent[] = [];
  const watchers = new Set<() => void>();
  const machines = createMachines({
    registry,
    driver,
    clock,
    random: Math.random,
    limits: LIMITS,
    autostop: { interval: ms(how.interval ?? 60_000), idle: ms(how.idle ?? 300_000) },
    environment: async () => ({ PATH: process.env["PATH"] ?? "/usr/bin" }),
    onEvent: (event) => {
      events.push(event);
      for (const look of watchers) look();
    },
    log: quiet,
  });
  closers.push(() => machines.shutdown({ drain: false }));
  const settled: Settlement[] = [];
  const proxy = createProxy({
    view: registry.view,
    changes: registry.changes,
    pool: machines,
    plane,
    limits: LIMITS,
    region: IAD,
    closeness: createCloseness([]),
    clock,
    random: Math.random,
    identify: (from, port) => ({
      address: from,
      port,
      network: undefined,
      via: "unknown",
      machine: undefined,
      region: IAD,
    }),
    http: () => ({ serve: async (_, socket) => void socket.destroy() }),
    onSettled: (settlement) => settled.push(settlement),
    log: quiet,
    trust: [],
  });
  closers.push(() => proxy.close());
  const server: Server = createServer({ allowHalfOpen: true, noDelay: true });
  server.listen({ host: "127.0.0.1", port: 0, backlog: 4096 });
  await once(server, "listening");
  proxy.listenPublished(address, 80, server);
  const { port } = server.address() as AddressInfo;
  return {
    machines,
    events,
    settled,
    driver,
    dial() {
      const socket = connect({ host: "127.0.0.1", port, noDelay: true });
      socket.on("error", () => {});
      closers.push(() => socket.destroy());
      return socket;
    },
    happened: (event, times = 1) =>
      new Promise((resolve) => {
        const look = (): void => {
          if (events.filter((one) => one.event === event).length < times) return;
          watchers.delete(look);
          resolve();
        };
        watchers.add(look);
        look();
      }),
  };
}

/** Sends a line and gives the answer's first bytes; rejects when the connection ends without one. */
async function ask(socket: Socket, line: string): Promise<string> {
  socket.write(line);
  return new Promise((resolve, reject) => {
    socket.once("data", (data: Buffer) => resolve(data.toString()));
    socket.once("close", () => reject(new Error("closed without an answer")));
  });
}

describe("with real processes and a real proxy", () => {
  test("a thousand clients on one sleeping Machine make one start, and all are served", async () => {
    const n = await node([ECHO]);
    const answers = await Promise.all(Array.from({ length: 1000 }, () => ask(n.dial(), "x")));
    expect(answers.every((answer) => answer.endsWith("x"))).toBe(true);
    expect(n.events.map((event) => event.event)).toEqual(["wake", "started"]);
    expect(n.machines.receipt(machineId(1))?.waiters).toBeGreaterThan(0);
  });

  test("a silent connection many times longer than the idle time keeps its Machine, which sleeps once it has ended", async () => {
    const n = await node([ECHO], { interval: 20, idle: 40 });
    const socket = n.dial();
    expect(await ask(socket, "a")).toBe("1:a");
    // Fifty passes of autostop, told by their own clock.
    for (let i = 0; i < 50; i++) await new Promise<void>((resolve) => systemClock.after(ms(20), resolve));
    expect(await ask(socket, "b")).toBe("2:b");
    socket.end();
    await n.happened("stopped");
    expect(await ask(n.dial(), "c")).toBe("1:c");
  });

  test("connections that arrive whenever they like, while autostop stops as often as it can, all get an answer", async () => {
    const n = await node([ECHO, ECHO], { interval: 5, idle: 10, service: { autostop: "stop" } });
    let answered = 0;
    for (let round = 0; round < 60; round++) {
      const clients = Array.from({ length: 1 + (round % 4) }, async (_, i) => {
        await new Promise<void>((resolve) => systemClock.after(ms((round * 7 + i * 13) % 40), resolve));
        const socket = n.dial();
        const answer = await ask(socket, "x");
        socket.destroy();
        return answer;
      });
      for (const answer of await Promise.all(clients)) if (answer.endsWith(":x")) answered++;
    }
    expect(answered).toBe(150);
    expect(n.events.filter((event) => event.event === "stopped").length).toBeGreaterThan(2);
    expect(n.events.filter((event) => event.event === "failed")).toEqual([]);
    expect(
      n.settled.filter((settlement) => settlement.error !== undefined && settlement.error.source !== "downstream"),
    ).toEqual([]);
  });

  test("suspended, a Machine keeps its memory, and goes on counting where it stood", async () => {
    const n = await node([ECHO], { interval: 10, idle: 20, service: { autostop: "suspend" } });
    const first = n.dial();
    expect(await ask(first, "a")).toBe("1:a");
    first.end();
    await n.happened("suspended");
    expect(await ask(n.dial(), "b")).toBe("2:b");
    expect(n.machines.receipt(machineId(1))).toMatchObject({ resumed: true });
  });

  test("a Machine that crashes with a connection open ends it, and the next one is served by a new process", async () => {
    const crash = ECHO.replace(
      's.on("data"',
      's.on("data", (d) => d.toString() === "die" && process.exit(7)); s.on("data"',
    );
    const n = await node([crash]);
    const socket = n.dial();
    expect(await ask(socket, "a")).toBe("1:a");
    const closed = once(socket, "close");
    socket.write("die");
    await closed;
    // A port may still accept in the very moment in which its process dies: raw bytes sent then are lost, not ours to repeat.
    await n.happened("stopped");
    expect(await ask(n.dial(), "b")).toBe("1:b");
    expect(n.events.find((event) => event.event === "stopped")).toMatchObject({ exit: { code: 7 } });
  });

  test("one that listens late is waited for, and the receipt adds up to what the client measured", async () => {
    const late = ECHO.replace("server.listen", "setTimeout(() => server.listen").replace(/\)$/, "), 400)");
    const n = await node([late]);
    const begin = performance.now();
    expect(await ask(n.dial(), "a")).toBe("1:a");
    const measured = performance.now() - begin;
    const receipt = n.machines.receipt(machineId(1));
    expect(receipt?.firstByte).toBeGreaterThan(400);
    expect(receipt?.firstByte).toBeLessThanOrEqual(measured);
    expect((receipt?.ownShare ?? 0) + (receipt?.appShare ?? 0)).toBeCloseTo(receipt?.firstByte ?? 0, 6);
    expect(receipt?.portOpen).toBeGreaterThanOrEqual(receipt?.driverStarted ?? Infinity);
  });

  test("with a check, the first connection waits until it passes", async () => {
    const n = await node([ECHO], { service: { checks: [check()] } });
    expect(await ask(n.dial(), "a")).toBe("1:a");
    expect(n.machines.receipt(machineId(1))?.checkPassed).toBeGreaterThan(0);
  });

  test("a Machine that gave its place back while it slept is woken all the same", async () => {
    const n = await node([ECHO], { interval: 10, idle: 20 });
    const socket = n.dial();
    expect(await ask(socket, "a")).toBe("1:a");
    socket.end();
    await n.happened("stopped");
    await n.driver.release(machineId(1));
    expect(await ask(n.dial(), "b")).toBe("1:b");
  });

  test("a client that leaves while its Machine starts leaves nothing behind", async () => {
    const n = await node([ECHO.replace("server.listen", "setTimeout(() => server.listen").replace(/\)$/, "), 200)")]);
    const socket = n.dial();
    await n.happened("wake");
    socket.resetAndDestroy();
    expect(await ask(n.dial(), "b")).toBe("1:b");
    expect(n.events.filter((event) => event.event === "wake")).toHaveLength(1);
    expect(n.machines.holders(machineId(1))).toHaveLength(1);
  });
});
