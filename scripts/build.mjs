// Builds dist/ from src/ with tsc alone. The output is written beside and renamed, so that a build that fails,
// or two builds at once, never leave a half-made dist/ behind for a running program to trip over.
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const dist = join(root, "dist");

function newest(dir) {
  let time = 0;
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name);
    time = Math.max(time, entry.isDirectory() ? newest(path) : statSync(path).mtimeMs);
  }
  return time;
}

// Which sources dist/ was made from, noted before they were read: an edit during the build makes the next one build again.
const stamp = join(dist, ".built-from");
const sources = String(
  Math.max(
    newest(join(root, "src")),
    ...["package.json", "tsconfig.json", "tsconfig.build.json"].map((f) => statSync(join(root, f)).mtimeMs),
  ),
);
const isFresh = existsSync(stamp) && readFileSync(stamp, "utf8") === sources;
if (isFresh && !process.argv.includes("--force")) process.exit(0);

const out = mkdtempSync(join(root, ".dist-"));
const tsc = spawnSync(
  process.execPath,
  [join(root, "node_modules/typescript/bin/tsc"), "-p", join(root, "tsconfig.build.json"), "--outDir", out],
  { stdio: "inherit" },
);
if (tsc.status !== 0) {
  rmSync(out, { recursive: true, force: true });
  process.exit(tsc.status ?? 1);
}
writeFileSync(join(out, ".built-from"), sources);
chmodSync(out, 0o755);
chmodSync(join(out, "cli", "flycast.js"), 0o755);
const old = mkdtempSync(join(root, ".dist-old-"));
if (existsSync(dist)) renameSync(dist, join(old, "dist"));
renameSync(out, dist);
rmSync(old, { recursive: true, force: true });
