import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { describe, expect, test } from "vitest";
import { AppError } from "../../src/core/errors.ts";
import type { MachineId } from "../../src/core/ids.ts";
import { seconds } from "../../src/core/units.ts";
import { wasReset } from "../../src/proxy/forward.ts";
import type { DialAddress } from "../../src/network/plane.ts";
import { closedPort, echo, ending, open, read, readAll, upstream, world } from "./fixture.ts";
import { machine, service } from "./values.ts";

const M1 = "00000000000001" as MachineId;
const M2 = "00000000000002" as MachineId;

describe("pass-through", () => {
  test("bytes reach the Machine and come back, and the claim is released when both directions have ended", async () => {
    const w = await world();
    const address = await upstream(echo);
    w.add(machine(M1, [service()]), { start: async () => [address] });
    const client = w.dial();
    client.write("hello");
    expect((await read(client, 5)).toString()).toBe("hello");
    expect(w.pool.claims(M1)).toBe(1);
    client.end("bye");
    expect((await readAll(client)).toString()).toBe("bye");
    const [settlement] = await w.whenSettled(1);
    expect(settlement).toMatchObject({ machine: M1, bytesIn: 8, bytesOut: 8, code: undefined });
    expect(w.pool.claims(M1)).toBe(0);
    expect(w.pool.starts).toEqual([M1]);
    expect(w.pool.firstBytes).toEqual([`${M1} 1`]);
  });

  test("a server that speaks first is woken without a byte from the client", async () => {
    const w = await world();
    const address = await upstream((socket) => void socket.end("220 ready\r\n"));
    w.add(machine(M1, [service()]), { start: async () => [address] });
    const client = w.dial();
    expect((await readAll(client)).toString()).toBe("220 ready\r\n");
  });

  test("a half-close goes through in both directions, with everything before it", async () => {
    const w = await world();
    const sent = randomBytes(4 * 1024 * 1024);
    const address = await upstream((socket) => {
      const hash = createHash("sha256");
      socket.on("data", (chunk) => hash.update(chunk));
      socket.on("end", () => socket.end(hash.digest("hex")));
    });
    w.add(machine(M1, [service()]), { start: async () => [address] });
    const client = w.dial();
    client.end(sent);
    expect((await readAll(client)).toString()).toBe(createHash("sha256").update(sent).digest("hex"));
    await w.whenSettled(1);
  });

  test("the Machine may end its direction first and still be written to", async () => {
    const w = await world();
    const heard: Buffer[] = [];
    const ended = withResolvers<void>();
    const address = await upstream((socket) => {
      socket.end("that is all");
      socket.on("data", (chunk) => heard.push(chunk));
      socket.on("end", () => ended.resolve());
    });
    w.add(machine(M1, [service()]), { start: async () => [address] });
    const client = w.dial();
    expect((await readAll(client)).toString()).toBe("that is all");
    client.end("still talking");
    await ended.promise;
    expect(Buffer.concat(heard).toString()).toBe("still talking");
    await w.whenSettled(1);
  });

  test("a client's reset becomes a reset at the Machine, and is told as the client's", async () => {
    const w = await world();
    const upstreamEnding = withResolvers<string>();
    const address = await upstream((socket) => {
      socket.write("x");
      void ending(socket).then(upstreamEnding.resolve);
    });
    w.add(machine(M1, [service()]), { start: async () => [address] });
    const client = w.dial();
    await read(client, 1);
    client.resetAndDestroy();
    expect(await upstreamEnding.promise).toBe("ECONNRESET");
    expect((await w.whenSettled(1))[0]?.code).toBe("FP16");
    expect(w.pool.claims(M1)).toBe(0);
  });

  test("the Machine's reset becomes a reset at the client, and is told as the Machine's", async () => {
    const w = await world();
    const address = await upstream((socket) => void socket.once("data", () => socket.resetAndDestroy()));
    w.add(machine(M1, [service()]), { start: async () => [address] });
    const client = w.dial();
    client.write("x");
    expect(await ending(client)).toBe("ECONNRESET");
    expect((await w.whenSettled(1))[0]?.code).toBe("PC03");
  });

  test("a Machine's reset right behind its last bytes does not pass for a proper end", async () => {
    const w = await world();
    const address = await upstream((socket) => {
      socket.once("data", () => {
        socket.write("half an ans");
        socket.resetAndDestroy();
      });
    });
    w.add(machine(M1, [service()]), { start: async () => [address] });
    for (let i = 1; i <= 20; i++) {
      const client = w.dial();
      client.write("x");
      client.resume();
      const isReset = new Promise((resolve) => {
        client.once("error", () => resolve(true));
        // The client is Node, too, and as easily deceived.
        client.once("end", () => resolve(wasReset(client)));
      });
      expect(await isReset).toBe(true);
      expect((await w.whenSettled(i)).at(-1)?.code).toBe("PC03");
    }
  });

  test("a client that does not read slows the Machine down, and gets every byte in the end", async () => {
    const w = await world();
    const size = 64 * 1024 * 1024;
    let written = 0;
    const stalled = withResolvers<void>();
    const address = await upstream((socket) => {
      const chunk = Buffer.alloc(64 * 1024, 7);
      const write = (): void => {
        while (written < size) {
          written += chunk.length;
          if (!socket.write(chunk)) return void socket.once("drain", write);
        }
        socket.end();
      };
      write();
      // It stalls when the kernel's buffers along the way are full: several looks in a row find it where it was.
      let last = -1;
      let same = 0;
      const look = setInterval(() => {
        same = written === last ? same + 1 : 0;
        last = written;
        if (same >= 5) stalled.resolve();
      }, 20);
      socket.once("close", () => clearInterval(look));
    });
    w.add(machine(M1, [service()]), { start: async () => [address] });
    const client = w.dial();
    client.pause();
    await stalled.promise;
    expect(written).toBeLessThan(size);
    let received = 0;
    client.on("data", (chunk: Buffer) => (received += chunk.length));
    client.resume();
    await once(client, "end");
    expect(received).toBe(size);
  });
});

describe("waking", () => {
  test("a thousand clients that reach a stopped Machine cause one start, and all are served", async () => {
    const w = await world();
    const address = await upstream(echo);
    const start = withResolvers<readonly DialAddress[]>();
    w.add(machine(M1, [service()]), { start: () => start.promise });
    const clients = Array.from({ length: 1000 }, () => w.dial());
    const answers = clients.map(async (client, i) => {
      client.end(`client ${i}`);
      return (await readAll(client)).toString();
    });
    await until(() => w.pool.claims(M1) === 1000);
    start.resolve([address]);
    expect(await Promise.all(answers)).toEqual(clients.map((_, i) => `client ${i}`));
    expect(w.pool.starts).toEqual([M1]);
    await w.whenSettled(1000);
    expect(w.settled.filter((s) => s.code !== undefined)).toEqual([]);
    expect(w.proxy.usage()).toMatchObject({ open: 0, waiting: 0 });
  });

  test("a port that is not there yet is tried until it answers, by one prober whose connection serves the first client", async () => {
    const w = await world();
    const address = await closedPort();
    let accepted = 0;
    w.add(machine(M1, [service()]), { start: async () => [address] });
    const clients = [w.dial(), w.dial(), w.dial()];
    const answers = clients.map(async (client) => {
      client.end("hi");
      return (await readAll(client)).toString();
    });
    await until(() => w.pool.claims(M1) === 3);
    const { createServer } = await import("node:net");
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      accepted++;
      echo(open(socket));
    }).listen(address.port, address.host);
    expect(await Promise.all(answers)).toEqual(["hi", "hi", "hi"]);
    expect(accepted).toBe(3);
    expect(w.pool.reachable).toEqual([`${M1} 9000 1`]);
    server.close();
  });

  test("the second address is used when the first one refuses", async () => {
    const w = await world();
    const address = await upstream(echo, "::1");
    w.add(machine(M1, [service()]), { start: async () => [await closedPort(), address] });
    const client = w.dial();
    client.end("six");
    expect((await readAll(client)).toString()).toBe("six");
  });

  test("a start that fails moves its waiters to the next Machine", async () => {
    const w = await world();
    const address = await upstream(echo);
    const failing = async (): Promise<never> => Promise.reject(new AppError("PM02", "no such program"));
    w.add(machine(M1, [service()]), { start: failing });
    w.add(machine(M2, [service()]), { start: async () => [address] });
    const answers = Array.from({ length: 20 }, async () => {
      const client = w.dial();
      client.end("x");
      return (await readAll(client)).toString();
    });
    expect(new Set(await Promise.all(answers))).toEqual(new Set(["x"]));
  });

  test("with no Machine left the client is reset, and the settlement says why the start failed", async () => {
    const w = await world();
    w.add(machine(M1, [service()]), { start: async () => Promise.reject(new AppError("PM02", "no such program")) });
    expect(await ending(w.dial())).toBe("ECONNRESET");
    const [settlement] = await w.whenSettled(1);
    expect(settlement).toMatchObject({ code: "PM02", error: { message: "no such program" } });
    expect(await ending(w.dial())).toBe("ECONNRESET");
    expect((await w.whenSettled(2))[1]?.code).toBe("PM02");
    expect(w.pool.starts).toEqual([M1]);
  });

  test("when several Machines failed the error is PR03 with the last cause", async () => {
    const w = await world();
    w.add(machine(M1, [service()]), { start: async () => Promise.reject(new AppError("PM02", "broken one")) });
    w.add(machine(M2, [service()]), { start: async () => Promise.reject(new AppError("PM02", "broken two")) });
    expect(await ending(w.dial())).toBe("ECONNRESET");
    const [settlement] = await w.whenSettled(1);
    expect(settlement?.code).toBe("PR03");
    expect(settlement?.error?.message).toMatch(/the last of 2: broken (one|two)/);
  });

  test("a port that never answers ends in PM03 after the wake timeout", async () => {
    const w = await world({ limits: { wakeTimeout: seconds(0.2) } });
    const nobody = await closedPort();
    w.add(machine(M1, [service()]), { start: async () => [nobody] });
    expect(await ending(w.dial())).toBe("ECONNRESET");
    const [settlement] = await w.whenSettled(1);
    expect(settlement?.code).toBe("PM03");
    expect(settlement?.error?.message).toContain(`port ${nobody.port}`);
    expect(w.pool.unreachable).toHaveLength(1);
  });

  test("a client that leaves while it waits gives its claim back, and the start goes on", async () => {
    const w = await world();
    const start = withResolvers<readonly DialAddress[]>();
    w.add(machine(M1, [service()]), { start: () => start.promise });
    const client = w.dial();
    await once(client, "connect");
    await until(() => w.pool.claims(M1) === 1);
    client.resetAndDestroy();
    expect((await w.whenSettled(1))[0]?.code).toBe("FP16");
    expect(w.pool.claims(M1)).toBe(0);
    start.resolve([await upstream(echo)]);
    await until(() => w.catalogue.status(M1).state === "started");
  });

  test("a client that half-closes while it waits is served", async () => {
    const w = await world();
    const start = withResolvers<readonly DialAddress[]>();
    w.add(machine(M1, [service()]), { start: () => start.promise });
    const client = w.dial();
    client.end("question");
    await until(() => w.pool.claims(M1) === 1);
    start.resolve([await upstream(echo)]);
    expect((await readAll(client)).toString()).toBe("question");
  });

  test("what a client sends while it waits is held up to the limit and arrives whole", async () => {
    const w = await world({ limits: { holdBuffer: 4096 as never } });
    const start = withResolvers<readonly DialAddress[]>();
    w.add(machine(M1, [service()]), { start: () => start.promise });
    const sent = randomBytes(3 * 1024 * 1024);
    const client = w.dial();
    client.end(sent);
    const answer = readAll(client);
    await until(() => w.pool.claims(M1) === 1);
    start.resolve([await upstream(echo)]);
    expect((await answer).equals(sent)).toBe(true);
  });

  test("a connection that arrives while the Machine is stopping is served by its next life", async () => {
    const w = await world();
    const address = await upstream(echo);
    w.add(machine(M1, [service()]), { start: async () => [address] });
    w.pool.setState(M1, "stopping");
    const client = w.dial();
    client.end("x");
    const answer = readAll(client);
    await until(() => w.proxy.usage().waiting === 1);
    w.pool.end(M1);
    expect((await answer).toString()).toBe("x");
    expect(w.pool.starts).toEqual([M1]);
  });

  test("without autostart a sleeping Machine is PR01, and is left asleep", async () => {
    const w = await world();
    w.add(machine(M1, [service({ autostart: false })]), { start: async () => [await upstream(echo)] });
    expect(await ending(w.dial())).toBe("ECONNRESET");
    const [settlement] = await w.whenSettled(1);
    expect(settlement).toMatchObject({ code: "PR01" });
    expect(settlement?.error?.message).toContain("1 asleep");
    expect(w.pool.starts).toEqual([]);
  });

  test("a Machine that ended before anybody knew is woken again for the connection that found out", async () => {
    const w = await world();
    const first = await closedPort();
    const { createServer } = await import("node:net");
    const server = createServer({ allowHalfOpen: true }, (socket) => echo(open(socket)));
    server.listen(first.port, first.host);
    await once(server, "listening");
    const second = await upstream(echo);
    w.add(machine(M1, [service()]), { start: async (generation) => [generation === 1 ? first : second] });
    const one = w.dial();
    one.end("1");
    expect((await readAll(one)).toString()).toBe("1");
    await w.whenSettled(1);
    server.close();
    await once(server, "close");
    const two = w.dial();
    two.end("2");
    const answer = readAll(two);
    await until(() => w.pool.claims(M1) === 1);
    w.pool.end(M1);
    expect((await answer).toString()).toBe("2");
    expect(w.pool.starts).toEqual([M1, M1]);
  });
});

describe("limits", () => {
  test("at the hard limit clients wait in order, and each freed slot serves the next", async () => {
    const w = await world();
    const served: string[] = [];
    const open: Socket[] = [];
    const address = await upstream((socket) => {
      open.push(socket);
      socket.once("data", (chunk) => {
        served.push(chunk.toString());
        socket.write(chunk);
      });
    });
    w.add(machine(M1, [service({ concurrency: { softLimit: 1, hardLimit: 1 } })]), { start: async () => [address] });
    const clients: Socket[] = [];
    for (let i = 0; i < 4; i++) {
      const client = w.dial();
      clients.push(client);
      client.write(String(i));
      await until(() => (i === 0 ? served.length === 1 : w.proxy.usage().waiting === i));
    }
    for (let i = 0; i < 4; i++) {
      expect((await read(clients[i]!, 1)).toString()).toBe(String(i));
      expect(w.pool.claims(M1)).toBe(1);
      clients[i]!.destroy();
      open[i]!.end();
    }
    expect(served).toEqual(["0", "1", "2", "3"]);
    await w.whenSettled(4);
  });

  test("a full queue is FP05, and a wait that is too long FP06", async () => {
    const w = await world({ limits: { queueLength: 1, queueTimeout: seconds(0.3) } });
    const address = await upstream(echo);
    w.add(machine(M1, [service({ concurrency: { softLimit: 1, hardLimit: 1 } })]), { start: async () => [address] });
    const first = w.dial();
    first.write("x");
    await read(first, 1);
    const second = ending(w.dial());
    await until(() => w.proxy.usage().waiting === 1);
    expect(await ending(w.dial())).toBe("ECONNRESET");
    expect(await second).toBe("ECONNRESET");
    expect((await w.whenSettled(2)).map((s) => s.code)).toEqual(["FP05", "FP06"]);
  });

  test("a client that leaves the queue frees its place", async () => {
    const w = await world({ limits: { queueLength: 1 } });
    const address = await upstream(echo);
    w.add(machine(M1, [service({ concurrency: { softLimit: 1, hardLimit: 1 } })]), { start: async () => [address] });
    const first = w.dial();
    first.write("x");
    await read(first, 1);
    const second = w.dial();
    await once(second, "connect");
    await until(() => w.proxy.usage().waiting === 1);
    second.resetAndDestroy();
    await until(() => w.proxy.usage().waiting === 0);
    const third = w.dial();
    third.end("third");
    await until(() => w.proxy.usage().waiting === 1);
    first.destroy();
    expect((await readAll(third)).toString()).toBe("third");
  });

  test("at the limit of connections newcomers are refused, those that are open live on, and it recovers", async () => {
    const w = await world({ limits: { connections: 8, perNetwork: 1 } });
    const address = await upstream(echo);
    w.add(machine(M1, [service()]), { start: async () => [address] });
    const clients = [w.dial(), w.dial(), w.dial(), w.dial()];
    for (const client of clients) client.write("x");
    for (const client of clients) await read(client, 1);
    expect(await ending(w.dial())).toBe("ECONNRESET");
    expect((await w.whenSettled(1))[0]?.code).toBe("FP03");
    for (const client of clients) client.write("y");
    for (const client of clients) await read(client, 1);
    clients[0]!.destroy();
    await until(() => w.proxy.connections() === 3);
    const next = w.dial();
    next.end("again");
    expect((await readAll(next)).toString()).toBe("again");
  });

  test("one network gets no more than its share", async () => {
    const w = await world({ limits: { connections: 8, perNetwork: 0.5 } });
    const address = await upstream(echo);
    w.add(machine(M1, [service()]), { start: async () => [address] });
    for (let i = 0; i < 2; i++) {
      const client = w.dial();
      client.write("x");
      await read(client, 1);
    }
    expect(await ending(w.dial())).toBe("ECONNRESET");
    expect((await w.whenSettled(1))[0]?.code).toBe("FP04");
  });

  test("new limits count from the next connection on", async () => {
    const w = await world({ limits: { connections: 2, perNetwork: 1 } });
    const address = await upstream(echo);
    w.add(machine(M1, [service()]), { start: async () => [address] });
    const first = w.dial();
    first.write("x");
    await read(first, 1);
    expect(await ending(w.dial())).toBe("ECONNRESET");
    const { LIMITS } = await import("./values.ts");
    w.proxy.reload(LIMITS);
    const second = w.dial();
    second.end("y");
    expect((await readAll(second)).toString()).toBe("y");
  });

  test("a connection that is half closed and silent for too long is cut", async () => {
    const w = await world({ limits: { halfClosedTimeout: seconds(0.2) } });
    const address = await upstream((socket) => void socket.resume());
    w.add(machine(M1, [service()]), { start: async () => [address] });
    const client = w.dial();
    client.end("only this");
    expect(await ending(client)).toBe("ECONNRESET");
    expect((await w.whenSettled(1))[0]?.code).toBe("FP13");
  });
});

describe("ending", () => {
  test("drain lets connections finish and says that it cut none", async () => {
    const w = await world();
    const address = await upstream(echo);
    w.add(machine(M1, [service()]), { start: async () => [address] });
    const client = w.dial();
    client.write("x");
    await read(client, 1);
    const port = w.publishedPort();
    const drained = w.proxy.drain(seconds(20));
    expect(await ending(open(connect(port, "127.0.0.1")))).toBe("ECONNREFUSED");
    client.end("y");
    expect((await readAll(client)).toString()).toBe("y");
    expect(await drained).toEqual([]);
  });

  test("drain cuts what lasts too long and names it", async () => {
    const w = await world();
    const address = await upstream(echo);
    w.add(machine(M1, [service()]), { start: async () => [address] });
    const client = w.dial();
    client.write("x");
    await read(client, 1);
    const cut = await w.proxy.drain(seconds(0.1));
    expect(cut).toMatchObject([{ app: "app", destination: `[${w.address}]:5000` }]);
    expect(await ending(client)).toBe("ECONNRESET");
    expect((await w.whenSettled(1))[0]?.code).toBe("FP11");
  });

  test("the end of a Machine's life ends its connections after their last bytes", async () => {
    const w = await world();
    let socketOfApp: Socket | undefined;
    const address = await upstream((socket) => {
      socketOfApp = socket;
      echo(socket);
    });
    w.add(machine(M1, [service()]), { start: async () => [address] });
    const client = w.dial();
    client.write("x");
    await read(client, 1);
    w.pool.end(M1);
    socketOfApp?.write("last words");
    expect((await read(client, 10)).toString()).toBe("last words");
    expect(await ending(client)).toBe("ECONNRESET");
    expect((await w.whenSettled(1))[0]?.code).toBe("machine_exited");
  });
});

function withResolvers<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>((r) => (resolve = r));
  return { promise, resolve };
}

/** Until a condition holds: looked at after each turn of the event loop. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise<void>((resolve) => setTimeout(resolve, 2));
}
