import { readFileSync } from "node:fs";
import type { GlobalOptions } from "./command.ts";
import { EXIT, print, printJson } from "./output.ts";

/** The version in package.json, which stands two folders above both src/cli and dist/cli. */
export function version(): string {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return /"version":\s*"([^"]+)"/.exec(text)?.[1] ?? "unknown";
}

/** `flycast version`. */
export function run(options: GlobalOptions): Promise<number> {
  const facts = {
    name: "flycast",
    version: version(),
    node: process.version,
    platform: `${process.platform}/${process.arch}`,
  };
  if (options.json === true) printJson(facts);
  else print(`flycast v${facts.version} ${facts.platform} Node.js ${facts.node}`);
  return Promise.resolve(EXIT.done);
}
