import type { AppName } from "../core/ids.ts";
import type { RegistryView } from "../registry/view.ts";
import type { Machines } from "./machines.ts";

/** How much of an app is in use. */
export interface InUse {
  readonly app: AppName;
  readonly connections: number;
  readonly requests: number;
}

/** The apps whose Machines somebody uses or waits for, in the order of their names. */
export function inUse(view: RegistryView, machines: Pick<Machines, "holders">): readonly InUse[] {
  const found = new Map<AppName, { connections: number; requests: number }>();
  for (const machine of view.machines()) {
    for (const { kind } of machines.holders(machine.id)) {
      const count = found.get(machine.app) ?? { connections: 0, requests: 0 };
      count[kind === "connection" ? "connections" : "requests"] += 1;
      found.set(machine.app, count);
    }
  }
  return [...found].map(([app, count]) => ({ app, ...count })).toSorted((a, b) => (a.app < b.app ? -1 : 1));
}
