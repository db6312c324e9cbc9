import type { ExitFacts } from "../network/linux/wire.ts";

/** What people should know when Machines have no way to the Internet that they might expect; else undefined. */
export function exitNote(
  exit: ExitFacts,
  how: { readonly wanted: "auto" | "none"; readonly nftables: boolean },
): string | undefined {
  if (exit.open || how.wanted === "none") return undefined;
  const because = how.nftables ? (exit.because ?? "no way was found") : "that needs nftables";
  return `Machines cannot reach the Internet (${because}). DNS works all the same; egress = "none" under [node] silences this.`;
}

/** For the moment when the way out is gone. */
export const EXIT_LOST =
  "Machines cannot reach the Internet any more: the program that sent on for them has ended. A restart of the node starts it again.";
