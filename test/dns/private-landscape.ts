import type { Ip6 } from "../../src/core/ids.ts";
import { HOME, Landscape, OTHER, machineId } from "./landscape.ts";

/** What real resolvers are asked about, and from which Machine of each network they ask. */
export function clientLandscape(): {
  readonly landscape: Landscape;
  readonly home: Ip6;
  readonly other: Ip6;
  readonly web: Ip6;
  readonly flycast: Ip6;
  readonly secret: Ip6;
  readonly crowd: readonly Ip6[];
} {
  const landscape = new Landscape().app("client").app("stranger", OTHER).app("web").app("big").app("secret", OTHER);
  const home = landscape.machine("client", machineId(1));
  const other = landscape.machine("stranger", machineId(2));
  const web = landscape.machine("web", machineId(3));
  const secret = landscape.machine("secret", machineId(4));
  landscape.machine("web", machineId(5), { region: "ams", state: "stopped" });
  const flycast = landscape.flycast("web", HOME, 3);
  const crowd = Array.from({ length: 200 }, (_, i) => landscape.machine("big", machineId(1000 + i)));
  return { landscape, home, other, web, flycast, secret, crowd: crowd.toSorted() };
}
