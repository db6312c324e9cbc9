// Builds dist/ from src/: one file for each program and what they share, dependencies included, so that a command loads a
// few files and not a hundred (tsc alone: `config show` cost 90 ms more than `node -e 0`, a node took 0.3 s longer to start).
// Types are `npm run check`'s affair. The output is written beside and renamed, so that a build that fails, or two builds
// at once, never leave a half-made dist/ behind for a running program to trip over.
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
import { build } from "esbuild";

const root = fileURLToPath(new URL("..", import.meta.url));
const dist = join(root, "dist");

/** What is run by its path. All lie in one folder, with what they share: they find each other beside themselves. */
const PROGRAMS = [
  "cli/flycast.ts",
  "cli/core.ts",
  "cli/doctor-inside.ts",
  "cli/proxy-inside.ts",
  "machines/drivers/starter.ts",
];

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
    ...["package.json", "scripts/build.mjs"].map((f) => statSync(join(root, f)).mtimeMs),
  ),
);
const isFresh = existsSync(stamp) && readFileSync(stamp, "utf8") === sources;
if (isFresh && !process.argv.includes("--force")) process.exit(0);

const out = mkdtempSync(join(root, ".dist-"));
try {
  await build({
    absWorkingDir: root,
    entryPoints: PROGRAMS.map((path) => `src/${path}`),
    entryNames: "[name]",
    chunkNames: "[name]-[hash]",
    outdir: join(out, "cli"),
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node20.20",
    charset: "utf8",
    // Read by `node --enable-source-maps`. Names and lines stay as they are without it, too.
    sourcemap: true,
    // Names and lines are what stack traces show.
    sourcesContent: false,
    // Dependencies that are CommonJS ask for Node's own modules by `require`, which a module does not have by itself.
    banner: {
      js: 'import { createRequire as requireFrom } from "node:module"; const require = requireFrom(import.meta.url);',
    },
  });
} catch {
  // It has said what was wrong.
  rmSync(out, { recursive: true, force: true });
  process.exit(1);
}
writeFileSync(join(out, ".built-from"), sources);
chmodSync(out, 0o755);
chmodSync(join(out, "cli", "flycast.js"), 0o755);
const old = mkdtempSync(join(root, ".dist-old-"));
if (existsSync(dist)) renameSync(dist, join(old, "dist"));
renameSync(out, dist);
rmSync(old, { recursive: true, force: true });
