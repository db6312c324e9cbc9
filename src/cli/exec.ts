import { spawn } from "node:child_process";
import { constants } from "node:os";
import { AppError } from "../core/errors.ts";
import { ApiClient } from "./client.ts";
import { enterNetwork } from "./client-place.ts";
import { EXIT } from "./output.ts";
import type { GlobalOptions } from "./command.ts";

/** Runs a command of the user's inside a network; its exit code is ours. */
export async function run(
  options: GlobalOptions & { org?: string; network?: string },
  args: readonly string[],
): Promise<number> {
  const command = args[0] === "--" ? args.slice(1) : args;
  if (command.length === 0) {
    process.stderr.write("Error: no command. Write it after two dashes: flycast exec -- curl http://web.flycast\n");
    return EXIT.usage;
  }
  const [file = "", ...rest] = [...(await enterNetwork(new ApiClient(options), options)), ...command];
  const child = spawn(file, rest, { stdio: "inherit" });
  // The terminal sends Ctrl-C to the whole group: the command decides what it means.
  for (const signal of ["SIGINT", "SIGQUIT"] as const) process.on(signal, () => undefined);
  process.on("SIGTERM", () => child.kill("SIGTERM"));
  return new Promise((resolve, reject) => {
    child.on("error", (cause) =>
      reject(new AppError("missing_tool", `cannot run ${file}: ${cause.message}`, { cause })),
    );
    child.on("exit", (code, signal) => resolve(code ?? 128 + (signal === null ? 1 : constants.signals[signal])));
  });
}
