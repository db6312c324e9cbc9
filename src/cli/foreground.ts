import type { SystemEvent } from "../api/events.ts";
import type { LoadedWorkspace } from "../config/load.ts";
import { toAppError } from "../core/errors.ts";
import { showProblems } from "./config-problems.ts";
import { errorOf, type NodeProcess } from "./node-process.ts";
import { EXIT, reportError } from "./output.ts";

/** Applies what the files say now, all or nothing, and says what came of it. */
export async function reload(
  node: NodeProcess,
  load: () => Promise<LoadedWorkspace>,
  say: (event: SystemEvent) => void,
  json: boolean,
): Promise<void> {
  const again = await load();
  // Warnings too: what a change publishes to everybody must not pass in silence.
  showProblems(again, json);
  if (again.workspace === undefined) {
    say({
      event: "problem",
      code: "config_invalid",
      message: "the files have errors: the running configuration is unchanged",
    });
    return;
  }
  try {
    say({ event: "reload", changed: await node.apply(again.workspace) });
  } catch (thrown) {
    const error = toAppError(thrown);
    say({ event: "problem", code: error.code, message: `${error.message} The running configuration is unchanged.` });
  }
}

/** SIGINT and SIGTERM: the first one drains, the second one cuts. `said`: to be told at the first. */
export function followSignals(node: NodeProcess, said: () => void): void {
  let asked = false;
  const stop = (): void => {
    node.shutdown(asked);
    if (!asked) said();
    asked = true;
  };
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
}

/** Says how it ended. @returns the exit code */
export async function waitForEnd(node: NodeProcess, json: boolean): Promise<number> {
  const { cut, failure } = await node.ended;
  for (const what of cut) process.stderr.write(`cut: ${what}\n`);
  if (failure === undefined) return EXIT.done;
  reportError(errorOf(failure), json);
  return EXIT.failed;
}
