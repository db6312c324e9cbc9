import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { MachineId } from "../../src/core/ids.ts";
import { temporaryAuthority } from "../../src/proxy/tls/authority.ts";
import { world, type World } from "./fixture.ts";
import { seconds } from "../../src/core/units.ts";
import { machine, service } from "./values.ts";
import { makeCluster, postgresFolder, type PostgresCluster } from "./postgres-server.ts";

const M1 = "00000000000001" as MachineId;
const bin = postgresFolder();
const skip = bin === undefined && process.env["CI"] !== "true";

const environment = (w: World, more: Record<string, string> = {}): Record<string, string> => ({
  PGHOST: "127.0.0.1",
  PGPORT: String(w.publishedPort()),
  ...more,
});

describe.skipIf(skip)("a real PostgreSQL that sleeps", () => {
  async function database(w: World, cluster: PostgresCluster): Promise<void> {
    w.add(machine(M1, [service({ internalPort: 5432 })]), { start: () => cluster.start() });
  }

  test("psql and pgbench are served by one start, sessions are cancelled, and it sleeps and wakes between them", async () => {
    const w = await world();
    const cluster = await makeCluster(bin!);
    await database(w, cluster);

    // Fifty clients at once reach a stopped database.
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, i) => cluster.client("psql", ["-Atc", `select ${i}`], environment(w))),
    );
    expect(answers.map((answer) => answer.trim())).toEqual(answers.map((_, i) => String(i)));
    expect(cluster.starts).toBe(1);

    await cluster.client("pgbench", ["-i", "-q"], environment(w));
    const report = await cluster.client("pgbench", ["-S", "-C", "-c8", "-j2", "-t25"], environment(w));
    expect(report).toContain("number of failed transactions: 0");

    // Ctrl-C in psql: a CancelRequest on a connection of its own.
    const sleeper = cluster.spawnClient("psql", ["-c", "select pg_sleep(300)"], environment(w));
    let said = "";
    sleeper.stderr?.on("data", (chunk: Buffer) => (said += chunk.toString()));
    const isSleeping = "select count(*) from pg_stat_activity where query = 'select pg_sleep(300)'";
    while ((await cluster.client("psql", ["-Atc", isSleeping], environment(w))).trim() !== "1");
    sleeper.kill("SIGINT");
    await once(sleeper, "exit");
    expect(said).toContain("canceling statement due to user request");

    const copied = await cluster.client(
      "psql",
      ["-Atc", "copy (select repeat('x', 1000) from generate_series(1, 20000)) to stdout"],
      environment(w),
    );
    expect(copied.length).toBe(20_000 * 1001);

    await cluster.stop();
    w.pool.end(M1);
    expect((await cluster.client("psql", ["-Atc", "select 'awake'"], environment(w))).trim()).toBe("awake");
    expect(cluster.starts).toBe(2);
    expect(w.settled.filter((s) => s.code !== undefined)).toEqual([]);
  });

  test("with TLS of its own, sslmode=prefer and require wake it and are served", async () => {
    const cluster = await makeCluster(bin!, ["ssl=on"]);
    const pair = temporaryAuthority(new Date()).issue(["db.flycast"], new Date());
    for (const [name, text] of [
      ["server.crt", pair.cert],
      ["server.key", pair.key],
    ] as const) {
      const path = join(cluster.data, name);
      writeFileSync(path, text);
      chmodSync(path, 0o600);
      if (process.getuid?.() === 0) chownSync(path, 65534, 65534);
    }
    const w = await world();
    await database(w, cluster);
    for (const PGSSLMODE of ["prefer", "require", "disable"]) {
      const query = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
      const answer = await cluster.client("psql", ["-Atc", query], environment(w, { PGSSLMODE }));
      expect(answer.trim(), PGSSLMODE).toBe(PGSSLMODE === "disable" ? "f" : "t");
    }
    expect(cluster.starts).toBe(1);
  });

  test("through pg_tls every sslmode works, verify-full included", async () => {
    const authority = temporaryAuthority(new Date());
    const w = await world({ more: { authority: () => authority } });
    const cluster = await makeCluster(bin!);
    const root = join(cluster.folder, "root.crt");
    writeFileSync(root, authority.cert);
    w.add(machine(M1, [service({ internalPort: 5432, handlers: ["pg_tls"], tls: { defaultSelfSigned: true } })]), {
      start: () => cluster.start(),
    });
    for (const PGSSLMODE of ["verify-full", "require", "prefer", "disable"]) {
      const answer = await cluster.client("psql", ["-Atc", "select 'served'", "-c", "\\conninfo"], {
        ...environment(w, { PGSSLMODE, PGSSLROOTCERT: root, PGHOST: "app.flycast", PGHOSTADDR: "127.0.0.1" }),
      });
      expect(answer, PGSSLMODE).toContain("served");
      expect(answer.includes("SSL connection"), PGSSLMODE).toBe(PGSSLMODE !== "disable");
    }
    expect(cluster.starts).toBe(1);
  });

  test("idle_sessions = end: sessions that do nothing are ended with 57P01; one that listens or is in a transaction keeps all", async () => {
    const w = await world({ app: { idleSessions: "end" }, more: { sessionIdle: seconds(0.3) } });
    const cluster = await makeCluster(bin!);
    await database(w, cluster);
    const env = environment(w);
    const open = (): { say: (sql: string) => void; said: () => string; end: Promise<unknown> } => {
      const psql = cluster.spawnClient("psql", ["-XAt"], env);
      let said = "";
      psql.stdin?.on("error", () => {}); // it may have ended
      for (const stream of [psql.stdout, psql.stderr])
        stream?.on("data", (chunk: Buffer) => (said += chunk.toString()));
      return { say: (sql) => void psql.stdin?.write(`${sql}\n`), said: () => said, end: once(psql, "exit") };
    };
    const idle = open();
    const busy = open();
    idle.say("select 'idle one';");
    busy.say("begin; select 'in a transaction';");
    while (!idle.said().includes("idle one") || !busy.said().includes("in a transaction")) await turn();
    // Many times its patience: the transaction keeps both.
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect(w.pool.claims(M1)).toBe(2);
    busy.say("commit; listen news; select 'listening';");
    while (!busy.said().includes("listening")) await turn();
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect(w.pool.claims(M1)).toBe(2);
    busy.say("discard all;");
    while (w.pool.claims(M1) > 0) await turn();
    // A client learns of it when it next speaks; whoever connects again is served.
    idle.say("select 1;");
    while (!idle.said().includes("terminating connection because every session")) await turn();
    await idle.end;
    busy.say("select 1;");
    await busy.end;
    expect((await cluster.client("psql", ["-Atc", "select 'served'"], env)).trim()).toBe("served");
    expect(cluster.starts).toBe(1);
  });

  test("a database that cannot start is explained by psql", async () => {
    const w = await world();
    const cluster = await makeCluster(bin!);
    w.add(machine(M1, [service({ internalPort: 5432 })]), {
      start: async () => {
        execFileSync("false");
        return [];
      },
    });
    const failure = await cluster
      .client("psql", ["-c", "select 1"], environment(w))
      .catch((error: Error) => error.message);
    expect(failure).toContain("the database cannot be reached");
    expect(failure).toContain("Flycast PM02");
  });
});

const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 10));
