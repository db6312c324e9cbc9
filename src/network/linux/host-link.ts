/** The one veth pair between the computer and the namespace of host mode. Run by the outer process, on the computer's side. */
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { AppError } from "../../core/errors.ts";
import type { NetworkId } from "../../core/ids.ts";
import { networkCidr, networkOf, parseIp6 } from "../address.ts";
import { mustRun, run } from "./run.ts";

/** Name of the network namespace that stays, as `ip netns` lists it. */
export const HOST_NAMESPACE = "flycast";
/** Name of the computer's end of the pair. */
export const HOST_LINK = "flycast0";
/** Name of the end inside. */
export const INSIDE = "host0";
/** What the core sends is data for `ip`: anything else is refused. */
const ADDRESS = /^fdaa:[0-9a-f:]{1,40}$/;
const CIDR = /^fdaa:[0-9a-f:]{1,40}\/48$/;

/** Makes the network namespace and the pair, as far as they are not there. `outside`: name of the computer's end. */
export async function ensureHostLink(namespace: string, outside: string): Promise<void> {
  if (!(await namespaceExists(namespace))) await mustRun(["ip", "netns", "add", namespace]);
  if ((await run(["ip", "link", "show", "dev", outside])).code !== 0) {
    await mustRun(["ip", "link", "add", "name", outside, "type", "veth", "peer", "name", INSIDE, "netns", namespace]);
  }
  // Where the computer has IPv6 switched off, our link alone has it.
  await writeFile(`/proc/sys/net/ipv6/conf/${outside}/disable_ipv6`, "0").catch(() => undefined);
  await mustRun(["ip", "link", "set", "dev", outside, "addrgenmode", "none", "up"]);
  await mustRun(["ip", "addr", "replace", "fe80::2/64", "dev", outside, "nodad"]);
}

export async function namespaceExists(namespace: string): Promise<boolean> {
  const names = (await mustRun(["ip", "netns", "list"])).split("\n").map((line) => line.split(" ")[0]);
  return names.includes(namespace);
}

/** Makes the computer a client of a network: its own address there, and one route. Nothing else of it is touched. */
export async function joinHost(outside: string, cidr: string, address: string): Promise<void> {
  if (!CIDR.test(cidr) || !ADDRESS.test(address)) throw new AppError("invalid", "not an address of a private network");
  await mustRun(["ip", "addr", "replace", `${address}/128`, "dev", outside, "nodad"]);
  await mustRun(["ip", "-6", "route", "replace", cidr, "via", "fe80::1", "dev", outside, "src", address]);
}

/** Takes back what `joinHost` did, also in an earlier life of the node, for all networks but those of these addresses. */
export async function leaveHost(outside: string, keep: readonly string[]): Promise<void> {
  for (const { text, network } of await privateAddresses(["addr", "show", "dev", outside])) {
    if (keep.includes(text)) continue;
    await run(["ip", "-6", "route", "del", networkCidr(network), "dev", outside]);
    await mustRun(["ip", "addr", "del", `${text}/128`, "dev", outside]);
  }
}

/** The private addresses that a question to `ip -6 -o` is answered with. */
export async function privateAddresses(
  question: readonly string[],
): Promise<readonly { readonly text: string; readonly network: NetworkId }[]> {
  const answer = await mustRun(["ip", "-6", "-o", ...question]);
  return [...answer.matchAll(/(?<![0-9a-f:])fdaa:[0-9a-f:]+(?=[/ ]|$)/gm)].flatMap(([text]) => {
    const parsed = parseIp6(text);
    const network = parsed.ok ? networkOf(parsed.value) : undefined;
    return network === undefined ? [] : [{ text, network }];
  });
}

/**
 * Has systemd-resolved ask this server for `.flycast` and `.internal`, and for nothing else. Goes with the link. False where
 * there is no systemd-resolved, or it refuses: `flycast doctor` then tells what to write where.
 */
export async function routeNames(outside: string, server: string): Promise<boolean> {
  // Asked by its bus name, one that is switched off would be started.
  if (!existsSync("/run/systemd/resolve")) return false;
  const settings = [
    ["dns", outside, server],
    ["domain", outside, "~flycast", "~internal"],
    ["default-route", outside, "no"],
  ];
  for (const setting of settings) {
    if ((await run(["resolvectl", ...setting], { timeout: 10_000 })).code !== 0) return false;
  }
  return true;
}
