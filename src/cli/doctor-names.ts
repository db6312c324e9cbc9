import { lookup } from "node:dns/promises";
import { existsSync } from "node:fs";

interface Finding {
  readonly what: string;
  readonly ok: boolean;
  readonly detail: string;
  readonly remedy?: string;
}

/** A name that every node has. */
const ALWAYS_THERE = "_api.internal";

/** Whether the computer's own resolver asks the node of host mode for our names. `servers`: where the node's DNS listens. */
export async function namesOfComputer(servers: readonly string[]): Promise<readonly Finding[]> {
  const what = "names on computer";
  const server = servers.flatMap((text) => /^\[(fdaa:.*)\]:53$/.exec(text)?.[1] ?? [])[0];
  if (server === undefined) {
    const remedy = 'Name one in [node] host_networks = ["personal/default"].';
    return [{ what, ok: false, detail: "the computer is a client of no network", remedy }];
  }
  try {
    const { address } = await lookup(ALWAYS_THERE, { family: 6 });
    return [{ what, ok: true, detail: `.flycast and .internal resolve: ${ALWAYS_THERE} is ${address}` }];
  } catch {
    return [{ what, ok: false, detail: "its resolver does not ask the node", remedy: resolverLines(server) }];
  }
}

function resolverLines(server: string): string {
  if (existsSync("/run/systemd/resolve")) {
    return `resolvectl dns flycast0 ${server} && resolvectl domain flycast0 '~flycast' '~internal'`;
  }
  return `dnsmasq: server=/flycast/${server} server=/internal/${server}; unbound: a forward-zone for each with forward-addr: ${server}`;
}
