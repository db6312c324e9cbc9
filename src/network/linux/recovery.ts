import type { Commands, Guard } from "./guard.ts";
import type { PlaceRecord } from "./place-records.ts";
import { wireNames } from "./wires.ts";

/** Machines whose lines go into one change: one argument of a process holds 128 KiB, and a Machine has some 250 bytes. */
const AT_ONCE = 200;

/**
 * The changes with which a plane begins: the base, and what an earlier life of the node has left (`found`; nothing in the
 * lab). Old rules are replaced by new ones in one transaction, so that the Machines that run do not notice; links of
 * nobody are removed.
 */
export function firstCommands(guard: Guard, found: readonly PlaceRecord[]): readonly Commands[] {
  const kept = new Set(found.map(({ link }) => link.name));
  const strays = wireNames().filter((name) => !kept.has(name));
  const networks = [...new Set(found.map(({ link }) => link.network))];
  const changes: Commands[] = [
    { ip: strays.map((name) => `link del dev ${name}`), ip6: [], nft: [] },
    together([
      guard.base,
      ...networks.map((network) => guard.addNetwork(network)),
      ...linksOf(found.slice(0, AT_ONCE), guard),
    ]),
  ];
  for (let from = AT_ONCE; from < found.length; from += AT_ONCE) {
    changes.push(together(linksOf(found.slice(from, from + AT_ONCE), guard)));
  }
  return changes;
}

function linksOf(found: readonly PlaceRecord[], guard: Guard): readonly Commands[] {
  return found.map(({ link }) => guard.addLink(link));
}

function together(parts: readonly Commands[]): Commands {
  return {
    ip: parts.flatMap((part) => part.ip),
    ip6: parts.flatMap((part) => part.ip6),
    nft: parts.flatMap((part) => part.nft),
  };
}
