import { flycastTomlJsonSchema, flyTomlJsonSchema } from "../config/json-schema.ts";
import { EXIT, printJson } from "./output.ts";
import type { GlobalOptions } from "./command.ts";

/** JSON Schema for editors: of fly.toml, or of flycast.toml. */
export async function run(_options: GlobalOptions, args: readonly string[]): Promise<number> {
  const which = (args[0] ?? "fly").replace(/\.toml$/, "");
  if (which !== "fly" && which !== "flycast") {
    process.stderr.write(`Error: there is no schema of "${args[0]}"; there are fly.toml and flycast.toml\n`);
    return EXIT.usage;
  }
  printJson(which === "fly" ? flyTomlJsonSchema : flycastTomlJsonSchema);
  return EXIT.done;
}
