import { spawn, type ChildProcess } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { connect, createServer, type AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { afterEach, describe, expect, test } from "vitest";
import { clientArgv } from "../../../src/network/linux/client.ts";
import type { ClientPlace } from "../../../src/network/plane.ts";
import { asUser, startLab, until, USERS, type Lab } from "../support/lab.ts";
import { NO_LAB, NO_ROOT } from "../support/possible.ts";
import { isRunning, labProcesses, parentOf, running, type Running } from "../support/processes.ts";

let labs: Lab[] = [];
afterEach(async () => {
  await Promise.all(labs.map((lab) => lab.end()));
  labs = [];
});

async function newLab(uid: number): Promise<Lab> {
  const lab = await startLab({ uid });
  labs.push(lab);
  return lab;
}

/** Sends a line to a port of this computer and reads all that comes back. */
async function exchange(port: number, line: string): Promise<string> {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  socket.end(line);
  return text(socket);
}

describe.skipIf(NO_LAB).each(USERS)("the way outside (uid %i)", (uid) => {
  test("a listener that the core asks for takes connections at a port of the computer, from the first on", async () => {
    const lab = await newLab(uid);
    const { port } = await lab.tell<AddressInfo>({ do: "outside-listen", port: 0 });
    const answers = await Promise.all(Array.from({ length: 50 }, () => exchange(port, "")));
    // Nothing was sent before the end of our half: only a half-open socket can still answer.
    for (const answer of answers) expect(answer).toMatch(new RegExp(`^127\\.0\\.0\\.1 127\\.0\\.0\\.1 ${port}\\n$`));
    await lab.tell({ do: "outside-close", port });
    const refused = connect(port, "127.0.0.1");
    const [error] = (await once(refused, "error")) as [NodeJS.ErrnoException];
    expect(error.code).toBe("ECONNREFUSED");
  });

  test("connections that come while a listener is handed in are served, not lost", async () => {
    const lab = await newLab(uid);
    const probe = createServer().listen(0, "127.0.0.1");
    await once(probe, "listening");
    const { port } = probe.address() as AddressInfo;
    probe.close();
    await once(probe, "close");
    const opened = lab.tell({ do: "outside-listen", port });
    // Knocks until the door opens, so that some of them come in the middle of it.
    const knock = async (): Promise<string> => {
      for (;;) {
        try {
          return await exchange(port, "x");
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== "ECONNREFUSED") throw error;
        }
      }
    };
    const answers = await Promise.all(Array.from({ length: 20 }, knock));
    await opened;
    for (const answer of answers) expect(answer).toContain(`127.0.0.1 ${port}`);
  });

  test("a taken port is refused with its own code and words", async () => {
    const lab = await newLab(uid);
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    const { port } = taken.address() as AddressInfo;
    await expect(lab.tell({ do: "outside-listen", port })).rejects.toThrow(`127.0.0.1:${port} is taken`);
    taken.close();
  });

  test("datagrams reach a socket that was handed in, and its answers come back", async () => {
    const lab = await newLab(uid);
    const { port } = await lab.tell<AddressInfo>({ do: "outside-udp" });
    const client = createSocket("udp4");
    client.send("hello", port, "127.0.0.1");
    const [answer] = (await once(client, "message")) as [Buffer];
    expect(answer.toString()).toBe("echo hello");
    client.close();
  });

  test("the core dials the computer's network, and what it cannot reach it is told", async () => {
    const lab = await newLab(uid);
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      // The server speaks first and again after the client's end: neither may be lost.
      socket.write("first ");
      let said = "";
      socket.setEncoding("utf8").on("data", (chunk: string) => (said += chunk));
      socket.on("end", () => socket.end(`you said ${said}`));
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    expect(await lab.tell({ do: "outside-dial", port, say: "hello" })).toBe("first you said hello");
    server.close();
    await once(server, "close");
    await expect(lab.tell({ do: "outside-dial", port, say: "hello" })).rejects.toThrow("ECONNREFUSED");
  });
});

describe.skipIf(NO_LAB).each(USERS)("SIGKILL of any part leaves nothing (uid %i)", (uid) => {
  /** A lab with a Machine that runs two processes, one in a session of its own; and all that must go. */
  async function busyLab(): Promise<{ readonly lab: Lab; readonly all: readonly Running[] }> {
    const lab = await newLab(uid);
    await lab.place("a1", 0x18, 1);
    await lab.tell({ do: "start", machine: "a1", command: ["sh", "-c", "setsid sleep 1000 & exec sleep 1000"] });
    await expect.poll(async () => (await lab.tell<number[]>({ do: "members", machine: "a1" })).length).toBe(2);
    const inside = labProcesses(lab.facts.initPid);
    // Process 1, the core, the Machine's two; and `unshare`, outside, which waits for process 1.
    expect(inside.length).toBeGreaterThanOrEqual(4);
    return { lab, all: [...inside, running(parentOf(lab.facts.initPid))!] };
  }

  const gone = (all: readonly Running[]) => until(() => !all.some(isRunning));

  test("of the outer process", async () => {
    const { lab, all } = await busyLab();
    process.kill(lab.outerPid, "SIGKILL");
    await gone(all);
  });

  test("of the outer process while the core hangs", async () => {
    const { lab, all } = await busyLab();
    lab.tell({ do: "hang" }).catch(() => undefined);
    process.kill(lab.outerPid, "SIGKILL");
    await gone(all);
  });

  test("of process 1", async () => {
    const { lab, all } = await busyLab();
    process.kill(lab.facts.initPid, "SIGKILL");
    await gone(all);
    await lab.exited;
  });

  test("of the core", async () => {
    const { lab, all } = await busyLab();
    const core = labProcesses(lab.facts.initPid).find(({ pid }) => parentOf(pid) === lab.facts.initPid);
    process.kill(core!.pid, "SIGKILL");
    await gone(all);
    await lab.exited;
  });

  test("of the outer process ends a client that entered from outside, too", async () => {
    const { lab, all } = await busyLab();
    const client = await enter(lab, uid, ["sh", "-c", "echo in; exec sleep 1000"]);
    const ended = once(client, "exit");
    await once(client.stdout!, "data");
    await lab.end();
    await ended;
    await gone(all);
  });
});

describe.skipIf(NO_LAB).each(USERS)("a client from outside (uid %i)", (uid) => {
  test("runs in the network that it asked for, under its own address, without rights", async () => {
    const lab = await newLab(uid);
    const a1 = await lab.place("a1", 0x18, 1);
    await lab.tell({ do: "listen-private", port: 80 });
    const script = `
      id -u; getent hosts fly-local-6pn | cut -d' ' -f1
      curl -sg --http0.9 -m 2 "http://[fdaa:0:18:0:1::1]/"; curl -sg -m 2 "http://[fdaa:0:19:0:1::1]/"; echo "refused $?"
      ping -6 -c1 -W2 ${a1.address} > /dev/null && echo pong
      ip link set eth0 down 2>/dev/null || echo no rights
      pwd`;
    const client = await enter(lab, uid, ["env", "-C", "/tmp", "sh", "-c", script]);
    const lines = (await text(client.stdout!)).trim().split("\n");
    const address = lines[1];
    expect(lines).toEqual([
      `${uid}`,
      address,
      `${address} fdaa:0:18:0:1::1 80`,
      "refused 7",
      "pong",
      "no rights",
      "/tmp",
    ]);
    expect(address).toMatch(/^fdaa:0:18::/);
  });

  test("its exit code comes through, and its namespace goes with it", async () => {
    const lab = await newLab(uid);
    for (const code of [0, 3]) {
      const client = await enter(lab, uid, ["sh", "-c", `echo in; sleep 0.2; exit ${code}`]);
      const ended = once(client, "exit");
      await once(client.stdout!, "data");
      // The node lets go while the command runs: from then on the command alone keeps the namespace.
      await lab.tell({ do: "release-clients" });
      expect(await ended).toEqual([code, null]);
    }
    await expect.poll(() => lab.tell({ do: "links" })).toEqual([]);
  });
});

describe.skipIf(NO_LAB || NO_ROOT)("entering another user's lab", () => {
  test("root becomes that user; nobody else is let in", async () => {
    const lab = await newLab(65534);
    const place = await lab.tell<ClientPlace>({ do: "client", network: 0x18 });
    const argv = [...(clientArgv(place, 0) ?? []), "id", "-u"];
    const root = spawn(argv[0]!, argv.slice(1), { stdio: ["ignore", "pipe", "inherit"] });
    expect(await text(root.stdout)).toBe("65534\n");
    expect(clientArgv(place, 65534)).toEqual(place.enter);
    expect(clientArgv(place, 1234)).toBeUndefined();
    // The kernel says the same.
    const stranger = [...asUser(1234), ...place.enter, "true"];
    const refused = spawn(stranger[0]!, stranger.slice(1), { stdio: ["ignore", "ignore", "pipe"] });
    expect(await text(refused.stderr)).toMatch(/Permission denied|Operation not permitted/);
  });
});

async function enter(lab: Lab, uid: number, command: readonly string[]): Promise<ChildProcess> {
  const place = await lab.tell<{ enter: readonly string[] }>({ do: "client", network: 0x18 });
  const [file = "", ...args] = [...asUser(uid), ...place.enter, ...command];
  return spawn(file, args, { stdio: ["ignore", "pipe", "inherit"] });
}
