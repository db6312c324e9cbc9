// What commands of the CLI cost beyond `node -e 0`: CPU time, user and system, of the process and its children.
//
//   node benchmarks/cli/run.mjs [RUNS]
//
// Commands and `node -e 0` take turns; bash counts (`times` of other shells counts in hundredths of a second). A quickstart that
// runs meanwhile answers them.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
const FLYCAST = join(root, "dist/cli/flycast.js");
const runs = Number(process.argv[2] ?? 15);
const COMMANDS = [
  "--help",
  "status",
  "apps list",
  "machines list -a web",
  "ips list -a web",
  "orgs list",
  "secrets list -a web",
  "tokens list",
  "platform regions",
  "wireguard list",
  "logs",
  "why web",
  "scale count 1 -a web",
  "ca",
  "completion bash",
  "dig web.flycast",
  "config schema",
  "config validate",
  "config show",
];

function cpu(folder, args) {
  const said = execFileSync(
    "bash",
    ["-c", 'TIMEFORMAT="%3U %3S"; { time "$0" "$@" >/dev/null 2>&1; } 2>&1 || true', process.execPath, ...args],
    { cwd: folder, encoding: "utf8" },
  );
  const [user, system] = said.trim().split(" ").map(Number);
  return (user + system) * 1000;
}
const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];

const folder = mkdtempSync(join(tmpdir(), "flycast-bench-cli-"));
cpSync(join(root, "examples/quickstart"), folder, {
  recursive: true,
  filter: (path) => !path.endsWith("/.flycast"),
});
const node = spawn(process.execPath, [FLYCAST, "up", "--network-mode", "loopback", "--json"], {
  cwd: folder,
  stdio: ["ignore", "pipe", "inherit"],
});
try {
  await once(node.stdout, "data");
  node.stdout.resume();
  console.log(`${"command".padEnd(24)} ms above node -e 0 (median of ${runs})`);
  for (const command of COMMANDS) {
    const [bare, ours] = [[], []];
    for (let i = 0; i < runs; i++) {
      bare.push(cpu(folder, ["-e", "0"]));
      ours.push(cpu(folder, [FLYCAST, ...command.split(" ")]));
    }
    console.log(`${command.padEnd(24)} ${(median(ours) - median(bare)).toFixed(0).padStart(3)}`);
  }
} finally {
  node.kill("SIGINT");
  await once(node, "exit");
  rmSync(folder, { recursive: true, force: true });
}
