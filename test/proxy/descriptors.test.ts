import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { closedPort, echo, ending, open, read, upstream } from "./fixture.ts";

const FRONT = fileURLToPath(new URL("../../benchmarks/tcp/front.ts", import.meta.url));

test("a process with few descriptors refuses before it runs out of them: who is in lives on, and it recovers", async () => {
  const origin = await upstream(echo);
  const { port } = await closedPort();
  // 200 descriptors: half of them for connections, two for each client.
  const script = `ulimit -n 200; exec "$0" --import tsx "$1" ${port} ${origin.port}`;
  const child = spawn("sh", ["-c", script, process.execPath, FRONT], { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
  onTestFinished(async () => {
    child.kill("SIGKILL");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  });
  const dial = (): Socket => open(connect({ host: "127.0.0.1", port, noDelay: true }));
  /** Whether the connection is served; false: it was refused. */
  const isServed = (client: Socket): Promise<boolean> => {
    client.write("x");
    return Promise.race([read(client, 1).then(() => true), ending(client).then(() => false)]).catch(() => false);
  };
  while (!(await isServed(dial()))) {
    if (child.exitCode !== null) throw new Error(said);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }

  const clients = Array.from({ length: 300 }, dial);
  const served = (await Promise.all(clients.map(async (client) => ((await isServed(client)) ? [client] : [])))).flat();
  expect(served.length).toBeGreaterThan(30);
  expect(served.length).toBeLessThanOrEqual(50);
  for (const client of served) expect(await isServed(client)).toBe(true);
  for (const client of served) client.destroy();
  while (!(await isServed(dial())));
});
