/**
 * The way out as root: a veth pair between the core's namespace and the computer, and one nftables table of our own there.
 * Pair and table bear one number, so that the table of a node that was killed is known by its missing pair, which ends
 * with the namespace. Nobody else's rules are touched.
 */
import { randomInt } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { AppError } from "../../core/errors.ts";
import { ownAddresses } from "./exit-link.ts";
import { mustRun, run } from "./run.ts";
import type { ExitFacts } from "./wire.ts";

/**
 * Blocks of four link-local addresses (RFC 3927), which no router carries: so they meet nobody else's network. Clear of
 * 169.254.169.254 and 169.254.170.2, where clouds answer.
 */
const BLOCKS = 2048;
const FIRST_OCTET = 96;

const TABLE = "flycast_exit_";
const LINK = "flyexit";
/** An empty chain that means: it was us who switched forwarding on. */
const WAS_OFF = "forwarding_was_off";
const FORWARDING = "/proc/sys/net/ipv4/ip_forward";

/** What must never be reached by way of the computer: itself, its links, and what is no single host's address. */
const NEVER = "0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 224.0.0.0/4, 240.0.0.0/4";

interface Veth {
  readonly facts: Extract<ExitFacts, { open: true }>;
  close(): Promise<void>;
}

interface Chain {
  readonly table: string;
  readonly name: string;
  readonly hook: string | undefined;
  readonly policy: string | undefined;
}

/**
 * `space`: path of the core's network namespace. `persistent`: whether an earlier life of the node may have left one there,
 * which is then found again. @errors missing_tool, internal, conflict */
export async function openVethExit(space: string, inside: string, persistent: boolean): Promise<Veth> {
  const chains = await tidyComputer();
  // firewalld's chain lets nothing through either, by its last rule.
  const walls = chains.filter(
    ({ table, hook, policy }) => hook === "forward" && (policy === "drop" || table === "firewalld"),
  );
  const found = persistent ? await numberOf(space, inside) : undefined;
  if (walls.length > 0) {
    if (found !== undefined) await closeVethExit(space, inside);
    throw new AppError(
      "conflict",
      `the computer's firewall forwards nothing (table ${walls.map(({ table }) => table).join(", ")})`,
    );
  }
  const number = found ?? (await makePair(space, inside));
  try {
    if (!chains.some(({ table }) => table === `${TABLE}${number}`)) await guardPair(number, chains);
  } catch (error) {
    await removePair(number);
    throw error;
  }
  return {
    facts: {
      open: true,
      by: "veth",
      address: addressOf(number, 2),
      prefix: 30,
      gateway: addressOf(number, 1),
      own: ownAddresses(),
    },
    close: () => removePair(number),
  };
}

/** Removes it, whoever opened it. */
export async function closeVethExit(space: string, inside: string): Promise<void> {
  const number = await numberOf(space, inside);
  if (number !== undefined) await removePair(number);
}

/** Removes the tables whose pair is gone, and says what chains there are then. @errors missing_tool without nftables */
export async function tidyComputer(): Promise<readonly Chain[]> {
  const [chains, links] = await Promise.all([listChains(), linkNumbers()]);
  const strays = numbersIn(chains).filter((number) => !links.has(number));
  if (strays.length === 0) return chains;
  const wereOff = chains.some(({ table, name }) => name === WAS_OFF && strays.includes(numberIn(table) ?? -1));
  for (const number of strays) await run(["nft", "delete", "table", "ip", `${TABLE}${number}`]);
  const left = chains.filter(({ table }) => !strays.includes(numberIn(table) ?? -1));
  if (wereOff) await putForwardingBack(left);
  return left;
}

async function makePair(space: string, inside: string): Promise<number> {
  // Another node may try the same number now: the kernel gives a name to one only.
  for (let tries = 0; tries < 20; tries++) {
    const number = randomInt(BLOCKS);
    const name = `${LINK}${number}`;
    const made = await run(["ip", "link", "add", "name", name, "type", "veth", "peer", "name", inside, "netns", space]);
    if (made.code !== 0 && !/File exists/.test(made.stderr)) throw new AppError("internal", made.stderr.trim());
    if (made.code !== 0) continue;
    const lines = [`link set dev ${name} addrgenmode none up`, `addr add ${addressOf(number, 1)}/30 dev ${name}`];
    await mustRun(["ip", "-batch", "-"], `${lines.join("\n")}\n`);
    return number;
  }
  throw new AppError("exhausted", "no free link-local addresses for the way out");
}

async function guardPair(number: number, chains: readonly Chain[]): Promise<void> {
  const off = (await readFile(FORWARDING, "utf8")).trim() === "0";
  const marked = off || chains.some(({ name }) => name === WAS_OFF);
  await mustRun(["nft", "-f", "-"], ruleset(number, marked ? await uplinks() : undefined));
  if (off) await writeFile(FORWARDING, "1");
}

async function removePair(number: number): Promise<void> {
  const chains = await listChains();
  const table = `${TABLE}${number}`;
  const marked = chains.some((chain) => chain.table === table && chain.name === WAS_OFF);
  await run(["nft", "delete", "table", "ip", table]);
  await run(["ip", "link", "del", "dev", `${LINK}${number}`]);
  if (marked) await putForwardingBack(chains.filter((chain) => chain.table !== table));
}

/** The last of us to go does it. */
async function putForwardingBack(left: readonly Chain[]): Promise<void> {
  if (numbersIn(left).length === 0) await writeFile(FORWARDING, "0");
}

/**
 * The computer's own addresses are kept before anybody's DNAT: a port that Docker publishes there is one of them.
 * `uplinks`: interfaces of default routes, when forwarding was off. It is on for the whole computer then, and must not make
 * a router of it for its neighbours: what they begin is not forwarded, unless somebody has set up a port for it (DNAT).
 */
function ruleset(number: number, uplinks: readonly string[] | undefined): string {
  const link = `"${LINK}${number}"`;
  const neighbours =
    uplinks === undefined || uplinks.length === 0
      ? ""
      : `iifname { ${uplinks.map((name) => `"${name}"`).join(", ")} } ct state new ct status & dnat == 0 drop`;
  return `
table ip ${TABLE}${number} {
  ${uplinks === undefined ? "" : `chain ${WAS_OFF} {}`}
  chain refuse {
    meta l4proto tcp reject with tcp reset
    reject with icmp admin-prohibited
  }
  chain own {
    type filter hook prerouting priority raw; policy accept;
    iifname ${link} fib daddr type local drop
  }
  chain through {
    type filter hook forward priority -10; policy accept;
    iifname ${link} ip saddr != ${addressOf(number, 2)} drop
    iifname ${link} ip daddr { ${NEVER} } jump refuse
    oifname ${link} ct state != { established, related } drop
    ${neighbours}
  }
  chain out {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr ${addressOf(number, 2)} masquerade
  }
}
`;
}

async function listChains(): Promise<readonly Chain[]> {
  const listed = await run(["nft", "-j", "list", "chains"]);
  if (listed.code === undefined) throw new AppError("missing_tool", "nft (nftables) is not installed");
  if (listed.code !== 0) throw new AppError("internal", `nft: ${listed.stderr.trim()}`);
  const { nftables } = JSON.parse(listed.stdout) as { nftables: readonly { chain?: Chain & { family: string } }[] };
  return nftables.flatMap(({ chain }) => (chain !== undefined && /^(ip|inet)$/.test(chain.family) ? [chain] : []));
}

async function linkNumbers(): Promise<ReadonlySet<number>> {
  const listed = await mustRun(["ip", "-o", "link", "show", "type", "veth"]);
  return new Set([...listed.matchAll(new RegExp(`: ${LINK}(\\d+)[@:]`, "g"))].map(([, number]) => Number(number)));
}

/** The number of the pair whose inner end is in this namespace. */
async function numberOf(space: string, inside: string): Promise<number | undefined> {
  const show = ["ip", "-4", "-o", "addr", "show", "dev", inside];
  const { stdout } = await run(["nsenter", `--net=${space}`, ...show]);
  const [, high, low] = /inet 169\.254\.(\d+)\.(\d+)\/30/.exec(stdout) ?? [];
  if (high === undefined) return undefined;
  const number = (Number(high) - FIRST_OCTET) * 64 + (Number(low) >> 2);
  return (await linkNumbers()).has(number) ? number : undefined;
}

async function uplinks(): Promise<readonly string[]> {
  const routes = await mustRun(["ip", "-4", "route", "show", "default"]);
  return [...new Set([...routes.matchAll(/ dev ([\w.@-]+)/g)].flatMap(([, name]) => name ?? []))];
}

function numbersIn(chains: readonly Chain[]): readonly number[] {
  return [...new Set(chains.flatMap(({ table }) => numberIn(table) ?? []))];
}

function numberIn(table: string): number | undefined {
  return table.startsWith(TABLE) ? Number(table.slice(TABLE.length)) : undefined;
}

function addressOf(number: number, offset: 1 | 2): string {
  return `169.254.${FIRST_OCTET + (number >> 6)}.${(number & 63) * 4 + offset}`;
}
