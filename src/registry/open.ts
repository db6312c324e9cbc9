import { randomBytes } from "node:crypto";
import type { NodeConfig } from "../config/model.ts";
import type { Clock } from "../core/clock.ts";
import type { HostId } from "../core/ids.ts";
import type { Outside } from "../network/outside.ts";
import type { Registry } from "./commands.ts";
import { openFileRegistry } from "./stores/file.ts";

/**
 * The catalogue of this node alone, or one that it shares with others. Sockets come from outside: the lab has no way out.
 * @errors state_locked, state_newer, state_damaged, no_privilege, node_unreachable
 */
export async function openRegistry(
  node: NodeConfig,
  outside: Outside,
  clock: Clock,
  onNotice: (message: string) => void,
): Promise<Registry & { readonly host: HostId }> {
  const common = { dir: node.stateDir, clock, random: randomBytes, onNotice };
  if (node.registry.kind === "file") return openFileRegistry(common);
  // Most nodes need none of it.
  const { openRedisRegistry } = await import("./stores/redis.ts");
  return openRedisRegistry({ ...common, url: node.registry.url, dial: (host, port) => outside.dial(host, port) });
}
