/** The one veth pair between the computer and the namespace of host mode. Run by the outer process, on the computer's side. */
import { AppError } from "../../core/errors.ts";
import { mustRun, run } from "./run.ts";

/** Name of the end inside. */
export const INSIDE = "host0";
/** What the core sends is data for `ip`: anything else is refused. */
const ADDRESS = /^fdaa:[0-9a-f:]{1,40}$/;
const CIDR = /^fdaa:[0-9a-f:]{1,40}\/48$/;

/** Makes the network namespace and the pair, as far as they are not there. `outside`: name of the computer's end. */
export async function ensureHostLink(namespace: string, outside: string): Promise<void> {
  const names = (await mustRun(["ip", "netns", "list"])).split("\n").map((line) => line.split(" ")[0]);
  if (!names.includes(namespace)) await mustRun(["ip", "netns", "add", namespace]);
  if ((await run(["ip", "link", "show", "dev", outside])).code !== 0) {
    await mustRun(["ip", "link", "add", "name", outside, "type", "veth", "peer", "name", INSIDE, "netns", namespace]);
  }
  await mustRun(["ip", "link", "set", "dev", outside, "addrgenmode", "none", "up"]);
  await mustRun(["ip", "addr", "replace", "fe80::2/64", "dev", outside, "nodad"]);
}

/** Makes the computer a client of a network: its own address there, and one route. Nothing else of it is touched. */
export async function joinHost(outside: string, cidr: string, address: string): Promise<void> {
  if (!CIDR.test(cidr) || !ADDRESS.test(address)) throw new AppError("invalid", "not an address of a private network");
  await mustRun(["ip", "addr", "replace", `${address}/128`, "dev", outside, "nodad"]);
  await mustRun(["ip", "-6", "route", "replace", cidr, "via", "fe80::1", "dev", outside, "src", address]);
}
