import { spawn } from "node:child_process";
import { AppError } from "../core/errors.ts";
import { ApiClient } from "./client.ts";
import { EXIT } from "./output.ts";
import type { GlobalOptions } from "./program.ts";

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
  const place = (await new ApiClient(options).post("/flycast/v1/clients", {
    org: options.org,
    network: options.network,
  })) as {
    enter: readonly string[];
  };
  const [file, ...rest] = [...place.enter, ...command];
  if (file === undefined) throw new AppError("internal", "the node gave no way to enter the network");
  const child = spawn(file, rest, { stdio: "inherit" });
  // The terminal sends Ctrl-C to the whole group: the command decides what it means.
  for (const signal of ["SIGINT", "SIGQUIT"] as const) process.on(signal, () => undefined);
  process.on("SIGTERM", () => child.kill("SIGTERM"));
  return new Promise((resolve, reject) => {
    child.on("error", (cause) =>
      reject(new AppError("missing_tool", `cannot run ${file}: ${cause.message}`, { cause })),
    );
    child.on("exit", (code, signal) => resolve(code ?? 128 + signalNumber(signal)));
  });
}

function signalNumber(signal: string | null): number {
  const numbers: Readonly<Record<string, number>> = { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGKILL: 9, SIGTERM: 15 };
  return numbers[signal ?? ""] ?? 1;
}
