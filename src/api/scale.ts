import { AppError } from "../core/errors.ts";
import type { RegionCode } from "../core/ids.ts";
import type { Machine, MachineConfig } from "../registry/model.ts";

export interface ScaleRequest {
  readonly count: number;
  readonly region: RegionCode | undefined;
  readonly group: string;
}

export interface ScalePlan {
  readonly create: readonly { readonly region: RegionCode; readonly config: MachineConfig }[];
  readonly remove: readonly Machine[];
}

/** More Machines of one group than this are a slip of the finger. */
const MOST = 1000;

/**
 * How to come to `count` Machines of a process group, in one region or over all of them. New ones are like the newest of the
 * group; regions with the fewest get them first, and those with the most give them up, the youngest first.
 * @errors not_found without a Machine to copy, invalid
 */
export function planScale(machines: readonly Machine[], request: ScaleRequest): ScalePlan {
  const { count, region, group } = request;
  if (!Number.isInteger(count) || count < 0 || count > MOST)
    throw new AppError("invalid", `count must be a whole number from 0 to ${MOST}`);
  const inGroup = machines.filter((machine) => machine.config.processGroup === group);
  const model = inGroup.toSorted((a, b) => b.createdAt - a.createdAt)[0];
  if (model === undefined) {
    throw new AppError("not_found", `the app has no Machine in process group "${group}" that a new one could be like`, {
      details: { next: "flycast deploy" },
    });
  }
  const scope = region === undefined ? inGroup : inGroup.filter((machine) => machine.region === region);
  const perRegion = new Map<RegionCode, Machine[]>();
  for (const machine of scope) perRegion.set(machine.region, [...(perRegion.get(machine.region) ?? []), machine]);
  if (perRegion.size === 0) perRegion.set(region ?? model.region, []);
  for (const list of perRegion.values()) list.sort((a, b) => b.createdAt - a.createdAt || (a.id < b.id ? 1 : -1));

  const create: { region: RegionCode; config: MachineConfig }[] = [];
  const remove: Machine[] = [];
  const sizes = new Map([...perRegion].map(([code, list]) => [code, list.length]));
  const total = (): number => [...sizes.values()].reduce((sum, size) => sum + size, 0);
  while (total() < count) {
    const [code] = [...sizes].toSorted((a, b) => a[1] - b[1])[0] ?? [model.region];
    sizes.set(code, (sizes.get(code) ?? 0) + 1);
    create.push({ region: code, config: { ...model.config, raw: undefined } });
  }
  while (total() > count) {
    const [code] = [...sizes].toSorted((a, b) => b[1] - a[1])[0] ?? [model.region];
    const victim = perRegion.get(code)?.shift();
    sizes.set(code, (sizes.get(code) ?? 1) - 1);
    if (victim !== undefined) remove.push(victim);
  }
  return { create, remove };
}
