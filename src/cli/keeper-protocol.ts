/**
 * What the process that keeps listeners (`flycast serve` itself) and the one that serves say to each other. They may be of
 * different versions, when a new one takes over: a change here costs that one time the connections that would wait.
 */
export type FromServing =
  /** It takes signals now, and wants what is kept. Answered by a `kept` for each, and `all`. */
  | { readonly keeper: "hello" }
  /** Comes with the listener. */
  | { readonly keeper: "keep"; readonly name: string }
  | { readonly keeper: "release"; readonly name: string }
  /** It serves in host mode: when it ends unasked, another shall take its place. */
  | { readonly keeper: "stay" };

export type FromKeeper =
  /** Comes with the listener. */
  | { readonly keeper: "kept"; readonly name: string }
  | { readonly keeper: "all" }
  /** End soon, and release nothing: another takes over. */
  | { readonly keeper: "leave" };

/** Set to 1 in the environment of the process that serves. */
export const KEEPER_ENV = "FLYCAST_KEEPER";

export function isKeeperMessage(message: unknown): message is { readonly keeper: string } {
  return typeof message === "object" && message !== null && "keeper" in message;
}
