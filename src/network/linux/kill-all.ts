import { AppError } from "../../core/errors.ts";
import type { Namespace } from "./namespace.ts";

/** SIGKILL to all in a namespace, again until there is nobody: a process may fork between the look and the kill. @errors internal */
export async function killAll(namespace: Namespace): Promise<void> {
  for (let round = 0; ; round++) {
    const members = namespace.members();
    if (members.length === 0) return;
    if (round === 1000) throw new AppError("internal", `${members.length} processes do not end, not even by SIGKILL`);
    for (const pid of members) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // Ended by itself.
      }
    }
    await new Promise((resolve) => setTimeout(resolve, Math.min(50, round)));
  }
}
