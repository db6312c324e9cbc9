import { validatePaths } from "../config/validate-command.ts";
import { checkAllowances } from "./allowances.ts";
import { printJson } from "./output.ts";
import type { GlobalOptions } from "./command.ts";

export async function run(
  options: GlobalOptions & { strict?: boolean; allow?: readonly string[] },
  args: readonly string[],
): Promise<number> {
  checkAllowances(options.allow ?? []);
  const result = await validatePaths(args, {
    cwd: process.cwd(),
    strict: options.strict === true,
    allow: new Set(options.allow),
    color: process.stdout.isTTY && process.env["NO_COLOR"] === undefined,
  });
  if (options.json === true) printJson({ valid: result.exitCode === 0, paths: result.paths });
  else process.stdout.write(result.report);
  return result.exitCode;
}
