import { AppError } from "../core/errors.ts";
import { clientArgv } from "../network/linux/client.ts";
import type { ClientPlace } from "../network/plane.ts";
import type { ApiClient } from "./client.ts";

/** argv to put before a command so that it runs as a client of a network, in this process's working folder. @errors forbidden, unsupported */
export async function enterNetwork(
  client: ApiClient,
  where: { org?: string; network?: string },
): Promise<readonly string[]> {
  const place = (await client.post("/flycast/v1/clients", where)) as Omit<ClientPlace, "release">;
  const argv = clientArgv({ ...place, release: () => undefined }, process.getuid?.() ?? 0);
  if (argv === undefined)
    throw new AppError("forbidden", "this lab belongs to another user; only they and root can enter it");
  // Entering a mount namespace loses the working folder.
  return [...argv, "env", "-C", process.cwd()];
}
