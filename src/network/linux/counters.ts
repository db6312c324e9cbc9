import { NFT_TABLE } from "./guard-nft.ts";
import { mustRun } from "./run.ts";

const NAMES = new Set(["forged", "denied_forward", "denied_input", "throttled"]);

/** Packets that the rules refused, by counter, since the table was made. @errors internal */
export async function readCounters(): Promise<Readonly<Record<string, number>>> {
  const text = await mustRun(["nft", "-j", "list", "counters", "table", ...NFT_TABLE.split(" ")]);
  const { nftables } = JSON.parse(text) as { nftables: readonly { counter?: { name: string; packets: number } }[] };
  const found: Record<string, number> = {};
  for (const { counter } of nftables) {
    if (counter !== undefined && NAMES.has(counter.name)) found[counter.name] = counter.packets;
  }
  return found;
}
