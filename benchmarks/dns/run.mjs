// DNS: CPU time per question beside dnsmasq, in the same run, under the same load.
//
//   node benchmarks/dns/run.mjs [SECONDS] [ROUNDS]
//
// Needs root, dnsperf and dnsmasq (Debian: dnsperf, dnsmasq-base); it makes a network namespace of its own. Both servers hold the same 2,000 private names and forward the rest; they take turns, round by round.
// CPU time is user + system of the server's process from /proc, so the load generator's share does not count.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { APPS, CLIENT, HOST, NETWORK } from "./names.mjs";

const here = dirname(fileURLToPath(import.meta.url));
if (process.env.FLYCAST_BENCH_INSIDE !== "1") {
  execFileSync("unshare", ["--net", process.execPath, ...process.argv.slice(1)], {
    stdio: "inherit",
    env: { ...process.env, FLYCAST_BENCH_INSIDE: "1" },
  });
  process.exit(0);
}

const seconds = Number(process.argv[2] ?? 5);
const rounds = Number(process.argv[3] ?? 5);
const OURS = "fdaa::3";
const THEIRS = "fdaa::4";
const UPSTREAM_PORT = 5300;
const ip = (...args) => execFileSync("ip", args, { stdio: ["ignore", "inherit", "inherit"] });
ip("link", "set", "lo", "up");
for (const address of [OURS, THEIRS, CLIENT]) ip("addr", "add", `${address}/128`, "dev", "lo", "nodad");

const folder = mkdtempSync(join(tmpdir(), "flycast-bench-dns-"));
await build({
  entryPoints: [join(here, "server.mjs"), join(here, "../../src/network/address.ts")],
  entryNames: "[name]",
  outdir: folder,
  outExtension: { ".js": ".mjs" },
  bundle: true,
  format: "esm",
  platform: "node",
  // As scripts/build.mjs has it.
  banner: {
    js: 'import { createRequire as requireFrom } from "node:module"; const require = requireFrom(import.meta.url);',
  },
});
const { flycastAddress, machineAddress } = await import(join(folder, "address.mjs"));
const numbers = Array.from({ length: APPS }, (_, i) => i + 1);
const loads = {
  private: numbers.flatMap((n) => [`app${n}.internal AAAA`, `app${n}.flycast AAAA`]),
  forwarded: numbers.map((n) => `host${n}.example.com A`),
};
for (const [name, lines] of Object.entries(loads)) writeFileSync(join(folder, name), `${lines.join("\n")}\n`);
writeFileSync(
  join(folder, "dnsmasq.conf"),
  numbers
    .flatMap((n) => [
      `host-record=app${n}.internal,${machineAddress(NETWORK, HOST, n)},5`,
      `host-record=app${n}.flycast,${flycastAddress(NETWORK, n)},5`,
    ])
    .join("\n"),
);

const children = [];
async function start(command, args, ready) {
  const child = spawn(command, args, { stdio: ["ignore", ready ? "pipe" : "ignore", "inherit"] });
  children.push(child);
  if (ready) await once(child.stdout, "data");
  return child;
}

function cpuMicroseconds(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}

function dnsperf(server, load, time) {
  const args = ["-s", server, "-a", CLIENT, "-f", "inet6", "-d", join(folder, load), "-l", `${time}`, "-q", "50", "-e"];
  const said = execFileSync("dnsperf", args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  const figure = (pattern) => Number(pattern.exec(said)?.[1] ?? Number.NaN);
  const completed = figure(/Queries completed:\s+(\d+)/);
  const answered = figure(/NOERROR (\d+)/);
  if (answered !== completed) throw new Error(`not all answers are good:\n${said}`);
  return { completed, lost: figure(/Queries lost:\s+(\d+)/), perSecond: Math.round(figure(/per second:\s+([\d.]+)/)) };
}

const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];

try {
  await start(process.execPath, [join(here, "upstream.mjs"), `${UPSTREAM_PORT}`], true);
  const flycast = await start(process.execPath, [join(folder, "server.mjs"), OURS, `127.0.0.1:${UPSTREAM_PORT}`], true);
  const dnsmasq = await start("dnsmasq", [
    "--keep-in-foreground",
    `--conf-file=${join(folder, "dnsmasq.conf")}`,
    `--listen-address=${THEIRS}`,
    "--bind-interfaces",
    "--no-resolv",
    "--no-hosts",
    "--user=root",
    "--pid-file=",
    "--cache-size=10000",
    `--server=127.0.0.1#${UPSTREAM_PORT}`,
  ]);
  const servers = [
    { name: "dnsmasq", address: THEIRS, pid: dnsmasq.pid },
    { name: "flycast", address: OURS, pid: flycast.pid },
  ];
  const results = [];
  for (const load of Object.keys(loads)) {
    // Caches warm and code compiled before anything is measured.
    for (const server of servers) dnsperf(server.address, load, 2);
    for (let round = 0; round < rounds; round++) {
      for (const server of servers) {
        const before = cpuMicroseconds(server.pid);
        const { completed, lost, perSecond } = dnsperf(server.address, load, seconds);
        const cpu = (cpuMicroseconds(server.pid) - before) / completed;
        results.push({ load, round, server: server.name, cpuMicrosecondsPerQuery: cpu, perSecond, completed, lost });
      }
    }
  }
  const summary = {};
  for (const load of Object.keys(loads)) {
    const of = (server) => results.filter((one) => one.load === load && one.server === server);
    const cpu = (server) => median(of(server).map((one) => one.cpuMicrosecondsPerQuery));
    const ratios = of("flycast").map(
      (one, i) => one.cpuMicrosecondsPerQuery / of("dnsmasq")[i].cpuMicrosecondsPerQuery,
    );
    summary[load] = {
      dnsmasq: Number(cpu("dnsmasq").toFixed(2)),
      flycast: Number(cpu("flycast").toFixed(2)),
      ratio: Number(median(ratios).toFixed(2)),
      ratioSpread: [Math.min(...ratios), Math.max(...ratios)].map((ratio) => Number(ratio.toFixed(2))),
      lost: of("flycast").reduce((sum, one) => sum + one.lost, 0),
    };
  }
  const machine = { cpu: cpus()[0].model, cores: cpus().length, node: process.version };
  const versions = {
    dnsmasq: /version (\S+)/i.exec(execFileSync("dnsmasq", ["--version"], { encoding: "utf8" }))?.[1],
  };
  const target = join(here, "..", "results", "dns.json");
  mkdirSync(dirname(target), { recursive: true });
  const command = `node benchmarks/dns/run.mjs ${seconds} ${rounds}`;
  const report = {
    benchmark: "dns",
    date: new Date().toISOString(),
    command,
    machine,
    versions,
    goal: 2.5,
    summary,
    results,
  };
  writeFileSync(target, `${JSON.stringify(report, undefined, 2)}\n`);
  console.log("CPU microseconds per question (median of rounds)");
  console.table(summary);
} finally {
  for (const child of children) child.kill();
  rmSync(folder, { recursive: true, force: true });
}
