import { ApiClient } from "./client.ts";
import { EXIT, print, printJson } from "./output.ts";
import type { GlobalOptions } from "./command.ts";

/** The certificate that a person trusts once, so that `https://app.flycast` needs no exception. */
export async function run(options: GlobalOptions): Promise<number> {
  const pem = String(await new ApiClient(options).get("/flycast/v1/ca"));
  if (options.json === true) printJson({ certificate: pem });
  else print(pem.trimEnd());
  return EXIT.done;
}
