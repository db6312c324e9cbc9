/** A lab for tests: the real core process in real namespaces, told what to do over the channel. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { Ip6 } from "../../../src/core/ids.ts";
import type { OuterFacts } from "../../../src/network/linux/wire.ts";

export interface RanCommand {
  readonly code: number;
  readonly out: string;
}

export type CoreCommand =
  | { readonly do: "network" | "remove-network" | "client" | "join-host" | "unthrottle"; readonly network: number }
  | { readonly do: "throttle"; readonly network: number; readonly perSecond: number }
  | {
      readonly do: "place";
      readonly machine: string;
      readonly network: number;
      readonly part: number;
      readonly mounts?: readonly { readonly folder: string; readonly destination: string }[];
      readonly files?: readonly { readonly path: string; readonly content: string }[];
      readonly hidden?: readonly string[];
    }
  | { readonly do: "unplace" | "members"; readonly machine: string }
  | {
      readonly do: "run";
      readonly machine: string;
      readonly command: readonly string[];
      readonly folder?: string;
      readonly user?: string;
    }
  /** In the Machine's namespaces, with the rights of the lab. */
  | { readonly do: "admin"; readonly machine: string; readonly command: readonly string[] }
  | { readonly do: "start"; readonly machine: string; readonly command: readonly string[] }
  | { readonly do: "listen-private" | "outside-listen" | "outside-close"; readonly port: number }
  | { readonly do: "outside-dial"; readonly port: number; readonly say: string }
  | { readonly do: "dial"; readonly machine: string; readonly port: number; readonly host?: string }
  | {
      readonly do:
        | "doors"
        | "outside-udp"
        | "refused"
        | "links"
        | "neighbours"
        | "holdings"
        | "release-clients"
        | "pid"
        | "hang"
        | "close";
    };

export interface Lab {
  /** The outer process, and process 1 of the lab, as seen from here. */
  readonly outerPid: number;
  readonly facts: OuterFacts;
  readonly exited: Promise<unknown>;
  tell<T = unknown>(command: CoreCommand): Promise<T>;
  place(machine: string, network: number, part: number): Promise<{ readonly address: Ip6; readonly link: string }>;
  run(machine: string, ...command: readonly string[]): Promise<RanCommand>;
  admin(machine: string, ...command: readonly string[]): Promise<RanCommand>;
  end(): Promise<void>;
}

/** Who the labs of this run belong to: root and an ordinary user, or only ourselves. */
export const USERS: readonly number[] = process.getuid?.() === 0 ? [0, 65534] : [process.getuid?.() ?? 0];

const OUTER = fileURLToPath(new URL("./outer.ts", import.meta.url));
const TSX = fileURLToPath(import.meta.resolve("tsx"));

/** argv to put before a command so that it runs as this user. */
export function asUser(uid: number): readonly string[] {
  return uid === process.getuid?.() ? [] : ["setpriv", `--reuid=${uid}`, `--regid=${uid}`, "--clear-groups"];
}

export async function startLab(options: {
  readonly uid: number;
  readonly stateDir?: string;
  readonly rules?: "nft" | "routing-rules";
  /** Namespaces kept ready. @default 0, so that what a test counts is its own */
  readonly spare?: number;
  /** Host mode, in a network namespace of this name. Root only. @default lab mode */
  readonly persistent?: string;
  /** Whether Machines shall reach what the computer reaches. @default "none" */
  readonly egress?: "auto" | "none";
  /** argv to put before all of it: a computer that looks different. */
  readonly on?: readonly string[];
}): Promise<Lab> {
  const waiting = new Map<
    number,
    { readonly resolve: (value: never) => void; readonly reject: (error: Error) => void }
  >();
  let sequence = 0;
  const settings = [
    options.stateDir ?? "/nonexistent",
    options.rules ?? "nft",
    `${options.spare ?? 0}`,
    options.persistent ?? "",
    options.egress ?? "none",
  ];
  const node = [process.execPath, "--import", TSX, OUTER, ...settings];
  const [file = "", ...args] = [...(options.on ?? []), ...asUser(options.uid), ...node];
  const outer = spawn(file, args, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  const exited = once(outer, "exit");
  const facts = await new Promise<OuterFacts>((resolve, reject) => {
    let found: OuterFacts;
    outer.once("exit", (code, signal) => reject(new Error(`the outer process ended: ${code ?? signal}`)));
    outer.on("message", (raw) => {
      const envelope = raw as {
        facts?: OuterFacts;
        message?: { ready?: true; id: number; value?: unknown; error?: string };
      };
      if (envelope.facts !== undefined) found = envelope.facts;
      const message = envelope.message;
      if (message === undefined) return;
      if (message.ready) return resolve(found);
      const waiter = waiting.get(message.id);
      waiting.delete(message.id);
      if (message.error === undefined) waiter?.resolve(message.value as never);
      else waiter?.reject(new Error(message.error));
    });
  });

  const tell = <T>(command: CoreCommand): Promise<T> =>
    new Promise<T>((resolve, reject) => {
      const id = ++sequence;
      waiting.set(id, { resolve, reject });
      outer.send({ id, command });
    });
  return {
    outerPid: outer.pid!,
    facts,
    exited,
    tell,
    place: (machine, network, part) => tell({ do: "place", machine, network, part }),
    run: (machine, ...command) => tell({ do: "run", machine, command }),
    admin: (machine, ...command) => tell({ do: "admin", machine, command }),
    async end() {
      outer.kill("SIGKILL");
      await exited;
    },
  };
}

/** Resolves as soon as the condition holds. The test's own timeout ends a wait in vain. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}
