import pc from "picocolors";
import { connectKeeper } from "./keeper-link.ts";
import type { GlobalOptions } from "./command.ts";

/** A node as a service is two processes on the computer: one that keeps listeners, and one that serves. */
export async function run(options: GlobalOptions & Record<string, unknown>, args: readonly string[]): Promise<number> {
  if (options["teardown"] === true) {
    const { tearDown } = await import("./serve-teardown.ts");
    return tearDown(options["yes"] === true, options.json === true);
  }
  const keeper = await connectKeeper();
  if (keeper !== undefined) {
    const { serve } = await import("./serve-node.ts");
    try {
      return await serve(options, args, keeper);
    } finally {
      keeper.close();
    }
  }
  const { keepServing } = await import("./keep-serving.ts");
  return keepServing((message) => process.stderr.write(`${pc.yellow("note:")} ${message}\n`));
}
