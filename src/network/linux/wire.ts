/** What the outer process and the core say to each other over their IPC channel. Both are our own program, one version. */

/** From the core. Handles travel beside the answers: a server, a UDP socket or a connected socket. */
export type CoreMessage =
  /** The first word: the core runs and knows its own pid. */
  | { readonly flycast: "hello"; readonly pid: number }
  | {
      readonly flycast: "open";
      readonly id: number;
      readonly what: Opening;
      readonly host: string;
      readonly port: number;
    }
  /** Host mode: make the computer a client of this network, under this address. Answered by `done` or `refused`. */
  | { readonly flycast: "join"; readonly id: number; readonly cidr: string; readonly address: string }
  /** Host mode: make it a client of no network but those of these addresses. Answered likewise. */
  | { readonly flycast: "leave"; readonly id: number; readonly keep: readonly string[] }
  /** Host mode: have the computer's resolver ask this server for our names. Answered likewise. */
  | { readonly flycast: "names"; readonly id: number; readonly server: string }
  /** Host mode: a listener of this name that an earlier core has left, if there is one. Answered by `opened` with it, or `done`. */
  | { readonly flycast: "take"; readonly id: number; readonly name: string }
  /** Host mode: comes with a listener, to be kept for the next core. */
  | { readonly flycast: "keep"; readonly name: string }
  /** Host mode: it is served no longer, on purpose. */
  | { readonly flycast: "release"; readonly name: string }
  /** Host mode: everything listens; whatever nobody took is of no use any more. */
  | { readonly flycast: "settled" }
  /** The handle arrived and is in use: the outer copy may close. */
  | { readonly flycast: "taken"; readonly id: number }
  | { readonly flycast: "app"; readonly body: unknown };

export type OuterMessage =
  | { readonly flycast: "welcome"; readonly outer: OuterFacts }
  /** Comes with the handle that was asked for. `kept`: an earlier core has left it. */
  | { readonly flycast: "opened"; readonly id: number; readonly kept?: true }
  | { readonly flycast: "done"; readonly id: number }
  | { readonly flycast: "refused"; readonly id: number; readonly code: string; readonly message: string }
  /** A connection that the outer copy of a listener accepted before it was closed. Comes with the socket. */
  | { readonly flycast: "straggler"; readonly id: number }
  | { readonly flycast: "app"; readonly body: unknown };

export type Opening = "listen" | "udp" | "dial";

/** What only a process outside can know of the lab. */
export interface OuterFacts {
  /** Process 1 of the lab as the outside numbers it: how `flycast exec` enters. */
  readonly initPid: number;
  readonly uid: number;
  readonly gid: number;
  /** Whether the lab has a user namespace of its own (always, unless made by root). */
  readonly userNamespace: boolean;
  /** Name of the network namespace that outlives the core (host mode); undefined in the lab, where everything ends with it. */
  readonly persistent: string | undefined;
  /** How Machines reach the Internet. */
  readonly exit: ExitFacts;
}

export type ExitFacts =
  | {
      readonly open: true;
      readonly by: "veth" | "pasta" | "slirp4netns";
      /** The core's address on the link that leads out, and who takes its packets there. */
      readonly address: string;
      readonly prefix: number;
      readonly gateway: string;
      /** The computer's own addresses, which are not for Machines. */
      readonly own: readonly string[];
    }
  /** `because`: what was tried; undefined when nobody wanted one. */
  | { readonly open: false; readonly because: string | undefined };

/** Whether a message on the channel is one of ours; anything else is not for us. */
export function isWireMessage(message: unknown): message is { readonly flycast: string } {
  return typeof message === "object" && message !== null && "flycast" in message;
}
