// Shows that the simulator sees: `npm run sim:mutants [-- --seeds N] [-- --only NAME]` deletes the lines of src/machines that
// are marked `// guard: NAME`, one at a time and in a copy, and expects some seed to find each deletion.
import { spawn } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const GUARD = /^.*\/\/ guard: ([a-z-]+)$/gm;
const { values } = parseArgs({ options: { seeds: { type: "string", default: "600" }, only: { type: "string" } } });

interface Guard {
  readonly name: string;
  readonly file: string;
  readonly line: string;
}

function findGuards(): readonly Guard[] {
  const folder = join(ROOT, "src/machines");
  return readdirSync(folder)
    .filter((file) => file.endsWith(".ts"))
    .flatMap((file) =>
      [...readFileSync(join(folder, file), "utf8").matchAll(GUARD)].map((match) => ({
        name: match[1] ?? "",
        file,
        line: match[0],
      })),
    );
}

/** The simulator's own output over a copy of the source without the guard, and whether it found something. */
async function runWithout(guard: Guard): Promise<{ readonly found: boolean; readonly output: string }> {
  const copy = mkdtempSync(join(tmpdir(), "flycast-mutant-"));
  try {
    for (const path of ["src", "test/machines", "test/support", "scripts/sim.ts", "package.json", "tsconfig.json"]) {
      cpSync(join(ROOT, path), join(copy, path), { recursive: true });
    }
    symlinkSync(join(ROOT, "node_modules"), join(copy, "node_modules"));
    const file = join(copy, "src/machines", guard.file);
    writeFileSync(file, readFileSync(file, "utf8").replace(`${guard.line}\n`, ""));
    const args = ["--import", "tsx", join(copy, "scripts/sim.ts"), "--seeds", values.seeds];
    const child = spawn(process.execPath, args, { cwd: copy, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
    const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
    return { found: code === 1 && output.includes("seed "), output };
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

const guards = findGuards().filter((guard) => values.only === undefined || guard.name === values.only);
let missed = 0;
for (const guard of guards) {
  const { found, output } = await runWithout(guard);
  if (!found) missed++;
  console.log(`${found ? "found " : "MISSED"} ${guard.name} (${guard.file}): ${output.split("\n")[0]}`);
}
console.log(`${guards.length} guards deleted one by one, ${missed} missed`);
process.exitCode = missed === 0 && guards.length > 0 ? 0 : 1;
