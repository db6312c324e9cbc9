import type { Machine } from "../registry/model.ts";
import type { Exit } from "./driver.ts";
import { describeFailure } from "./endings.ts";
import type { MachineEvent } from "./events.ts";
import type { LifeEvent, MachineState } from "./state.ts";
import type { Holder } from "./why.ts";

/** What the world is told of a new state: pure. Undefined: nothing. */
export function announce(
  machine: Machine,
  step: { readonly before: MachineState; readonly next: MachineState; readonly event: LifeEvent },
  known: {
    /** The life was woken by a claim: its receipt will tell that it started. */
    readonly woken: boolean;
    readonly cut: readonly Holder[];
    readonly exit: Exit | undefined;
  },
): MachineEvent | undefined {
  const { before, next, event } = step;
  const { because } = next;
  const head = { machine: machine.id, app: machine.app };
  switch (next.kind) {
    case "started":
      if (before.kind !== "starting" || known.woken) return undefined;
      return { ...head, event: "started", because, receipt: undefined };
    case "draining":
      return { ...head, event: "stopping", because, cut: [] };
    case "stopping":
    case "suspending":
      // Nobody stopped what ended by itself, and what was being emptied has been announced, unless claims were cut.
      if (event.kind === "exited") return undefined;
      if (before.kind === "draining" && known.cut.length === 0) return undefined;
      return { ...head, event: "stopping", because, cut: known.cut };
    case "stopped":
      // What never ran did not end.
      if (before.kind === "created") return undefined;
      return { ...head, event: "stopped", because, exit: known.exit };
    case "suspended":
      return { ...head, event: "suspended", because };
    case "failed":
      return { ...head, event: "failed", code: next.error.code, message: describeFailure(next.error) };
    case "created":
    case "starting":
    case "destroying":
    case "destroyed":
      return undefined;
  }
}
