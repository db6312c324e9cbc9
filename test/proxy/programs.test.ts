import { execFile, spawn, spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { promisify } from "node:util";
import { describe, expect, onTestFinished, test } from "vitest";
import type { MachineId } from "../../src/core/ids.ts";
import { closedPort, upstream, world } from "./fixture.ts";
import { machine, service } from "./values.ts";

const M1 = "00000000000001" as MachineId;
const run = promisify(execFile);
const missing = (program: string): boolean =>
  process.env["CI"] !== "true" && spawnSync(program, ["-V"], { stdio: "ignore" }).error !== undefined;

describe("programs that people have", () => {
  test.skipIf(missing("redis-server") || missing("redis-benchmark"))(
    "redis-cli and redis-benchmark reach a sleeping Redis",
    async () => {
      const w = await world();
      let starts = 0;
      w.add(machine(M1, [service({ internalPort: 6379 })]), {
        async start() {
          starts++;
          const address = await closedPort();
          const args = ["--port", String(address.port), "--bind", address.host, "--save", "", "--dir", "/tmp"];
          const child = spawn("redis-server", args, { stdio: "ignore" });
          onTestFinished(async () => {
            child.kill("SIGKILL");
            if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
          });
          return [address];
        },
      });
      const at = ["-h", "127.0.0.1", "-p", String(w.publishedPort())];
      expect((await run("redis-cli", [...at, "set", "greeting", "hello"])).stdout).toBe("OK\n");
      const report = await run("redis-benchmark", [...at, "-n", "2000", "-c", "50", "-t", "set,get", "-q"]);
      expect(report.stdout).toMatch(/GET: .*requests per second/);
      expect((await run("redis-cli", [...at, "get", "greeting"])).stdout).toBe("hello\n");
      expect(starts).toBe(1);
      expect(w.settled.filter((s) => s.code !== undefined)).toEqual([]);
    },
  );

  test.skipIf(missing("socat"))("socat sends 32 MB, half-closes, and reads the answer", async () => {
    const w = await world();
    const address = await upstream((socket) => {
      const hash = createHash("sha256");
      socket.on("data", (chunk) => hash.update(chunk));
      socket.on("end", () => socket.end(hash.digest("hex")));
    });
    w.add(machine(M1, [service()]), { start: async () => [address] });
    const sent = randomBytes(32 * 1024 * 1024);
    const child = spawn("socat", ["-t", "30", "-", `TCP:127.0.0.1:${w.publishedPort()}`], {
      stdio: ["pipe", "pipe", "ignore"],
    });
    let answer = "";
    child.stdout.on("data", (chunk: Buffer) => (answer += chunk.toString()));
    child.stdin.on("error", () => {});
    child.stdin.end(sent);
    await once(child, "close");
    expect(answer).toBe(createHash("sha256").update(sent).digest("hex"));
  });
});
