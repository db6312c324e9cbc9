import type { ExitFacts } from "../network/linux/wire.ts";

/** What people should know when Machines have no way to the Internet that they might expect; else undefined. */
export function exitNote(exit: ExitFacts): string | undefined {
  if (exit.open || exit.because === undefined) return undefined;
  return `Machines cannot reach the Internet (${exit.because}). DNS works all the same; egress = "none" under [node] silences this.`;
}
