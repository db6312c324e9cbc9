#!/usr/bin/env node
import { buildProgram } from "./program.ts";

// `flycast status | head` closes our standard output early: that is an end, not an error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

await buildProgram().parseAsync(process.argv);
