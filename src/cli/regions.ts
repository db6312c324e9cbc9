import { REGIONS } from "../core/regions.ts";
import { EXIT, print, printJson } from "./output.ts";
import type { GlobalOptions } from "./command.ts";
import { table } from "./table.ts";

/** The platform's regions: a check mark in the Gateway column where it runs a WireGuard gateway. */
export async function run(options: GlobalOptions): Promise<number> {
  const current = REGIONS.filter((region) => !region.deprecated).toSorted((a, b) => (a.name < b.name ? -1 : 1));
  if (options.json === true) printJson(current);
  else
    print(
      table(
        ["Name", "Code", "Gateway"],
        current.map((r) => [r.name, r.code, r.gateway === true ? "✓" : ""]),
      ),
    );
  return EXIT.done;
}
