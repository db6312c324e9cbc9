#!/usr/bin/env node
import { buildProgram } from "./program.ts";

// `flycast status | head` closes our standard output early: that is an end, not an error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  process.stderr.write(`Error: cannot write the output: ${error.message}\n`);
  process.exit(1);
});
process.stderr.on("error", () => undefined);

await buildProgram().parseAsync(process.argv);
