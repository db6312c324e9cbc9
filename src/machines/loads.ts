import type { RegistryView } from "../registry/view.ts";
import type { MachinePool } from "./pool.ts";

export interface Load {
  readonly app: string;
  readonly machine: string;
  readonly service: number;
  readonly claims: number;
}

/** What `/metrics` shows of the claims: one number for each internal port of each Machine that has any. */
export function* loadsOf(view: RegistryView, pool: Pick<MachinePool, "load">): Generator<Load> {
  for (const machine of view.machines()) {
    // Several services may share one internal port; its claims are counted together.
    for (const service of new Set(machine.config.services.map(({ internalPort }) => internalPort))) {
      const claims = pool.load(machine.id, service);
      if (claims > 0) yield { app: machine.app, machine: machine.id, service, claims };
    }
  }
}
