/** The Machines' way to the Internet, by IPv4. Made and held by the outer process; `egress-inside.ts` joins the Machines to it. */
import { toAppError } from "../../core/errors.ts";
import { openUserExit } from "./egress-user.ts";
import { closeVethExit, openVethExit, tidyComputer } from "./egress-veth.ts";
import { EXIT } from "./exit-link.ts";
import { run } from "./run.ts";
import type { ExitFacts } from "./wire.ts";

export interface ExitRequest {
  /** A process in the core's network namespace. */
  readonly pid: number;
  readonly wanted: "auto" | "none";
  /** Whether namespaces are made by right (`isPrivileged`). */
  readonly privileged: boolean;
  /** Host mode: the namespace, its Machines and so their way out stay when this process ends. */
  readonly persistent: boolean;
}

export interface Exit {
  readonly facts: ExitFacts;
  /** Resolves when the program that sends on has ended by itself. */
  readonly lost: Promise<void>;
  /** Leaves nothing on the computer. In host mode the way out stays, for the Machines stay. */
  close(): Promise<void>;
}

interface Way {
  readonly facts: Extract<ExitFacts, { open: true }>;
  /** Undefined where nothing can be lost. */
  readonly lost?: Promise<void>;
  close(): Promise<void>;
}

const NEVER = new Promise<void>(() => undefined);

/**
 * Opens the best way out that this user can have here: a veth pair with masquerading as root, else a program that sends
 * on for us, else none. Also removes what killed nodes have left on the computer. Never rejects.
 */
export async function openExit(request: ExitRequest): Promise<Exit> {
  if (request.wanted === "none") {
    if (request.privileged) await leaveNothing(request).catch(() => undefined);
    return closed(undefined);
  }
  const reasons: string[] = [];
  const ways = request.privileged
    ? [
        () => openVethExit(netOf(request.pid), EXIT, request.persistent),
        () => openUserExit("slirp4netns", request.pid, EXIT),
      ]
    : [
        () => openUserExit("pasta", request.pid, EXIT),
        () => openUserExit("slirp4netns", request.pid, EXIT, `/proc/${request.pid}/ns/user`),
      ];
  for (const open of ways) {
    try {
      const way: Way = await open();
      const stays = request.persistent && way.facts.by === "veth";
      return { facts: way.facts, lost: way.lost ?? NEVER, close: () => (stays ? Promise.resolve() : way.close()) };
    } catch (thrown) {
      reasons.push(toAppError(thrown).message);
    }
  }
  return closed(reasons.join("; "));
}

/** In host mode an earlier life of the node may have opened what now nobody wants. */
async function leaveNothing({ pid, persistent }: ExitRequest): Promise<void> {
  if (persistent) await closeVethExit(netOf(pid), EXIT);
  await tidyComputer();
}

/** Ends the way out of host mode, which outlives the node. `namespace`: its name, as `ip netns` lists it. Root only. */
export async function removeHostExit(namespace: string): Promise<void> {
  if ((await run(["nft", "--version"])).code !== 0) return;
  await closeVethExit(`/run/netns/${namespace}`, EXIT);
  await tidyComputer();
}

function netOf(pid: number): string {
  return `/proc/${pid}/ns/net`;
}

function closed(because: string | undefined): Exit {
  return { facts: { open: false, because }, lost: NEVER, close: () => Promise.resolve() };
}
