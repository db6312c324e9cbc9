import type { RegistryView } from "../registry/view.ts";
import type { Machines } from "./machines.ts";

export interface Load {
  readonly app: string;
  readonly machine: string;
  readonly service: number;
  readonly claims: number;
}

/** Claims held by each service of each Machine that has any: what `/metrics` shows when somebody asks. */
export function* loadsOf(view: RegistryView, machines: Pick<Machines, "holders">): Generator<Load> {
  for (const machine of view.machines()) {
    const holders = machines.holders(machine.id);
    for (const { internalPort } of holders.length === 0 ? [] : machine.config.services) {
      const claims = holders.filter((holder) => holder.service === internalPort).length;
      if (claims > 0) yield { app: machine.app, machine: machine.id, service: internalPort, claims };
    }
  }
}
