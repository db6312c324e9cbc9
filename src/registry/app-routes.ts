import type { Port } from "../core/units.ts";
import type { Machine } from "./model.ts";
import type { PortRoute } from "./view.ts";

/** What the external ports of one app lead to. Built from its Machines once, then asked by every connection. */
export class AppRoutes {
  /** Once each, sorted by port. */
  readonly all: readonly PortRoute[];
  readonly #single = new Map<number, { readonly rank: number; readonly route: PortRoute }>();
  readonly #ranges: { readonly rank: number; readonly route: PortRoute }[] = [];

  constructor(machines: readonly Machine[]) {
    const seen = new Map<string, PortRoute>();
    let rank = 0;
    for (const machine of machines.toSorted(newestFirst)) {
      for (const service of machine.config.services) {
        for (const port of service.ports) {
          const key = `${port.start}-${port.end}`;
          if (seen.has(key)) continue;
          const route: PortRoute = { service, port };
          seen.set(key, route);
          if (port.start === port.end) this.#single.set(port.start, { rank, route });
          else this.#ranges.push({ rank, route });
          rank++;
        }
      }
    }
    this.all = [...seen.values()].toSorted((a, b) => a.port.start - b.port.start || a.port.end - b.port.end);
  }

  /** Where a range and a single port overlap, the newer Machine's word counts. */
  find(port: Port): PortRoute | undefined {
    const single = this.#single.get(port);
    for (const { rank, route } of this.#ranges) {
      if (single !== undefined && single.rank < rank) break;
      if (port >= route.port.start && port <= route.port.end) return route;
    }
    return single?.route;
  }
}

/** By the version of the config: a deploy that goes from Machine to Machine moves the app's ports with the first. */
function newestFirst(a: Machine, b: Machine): number {
  if (a.instance !== b.instance) return a.instance < b.instance ? 1 : -1;
  return a.id < b.id ? 1 : -1;
}
