import { parseRegionCode, type RegionCode } from "../../core/ids.ts";
import { REGIONS } from "../../core/regions.ts";

/** Names for many regions at once (reference §11). */
const ALIASES: ReadonlyMap<string, readonly RegionCode[]> = new Map([
  ["apac", inGeoRegion("asia_pacific")],
  ["eu", inGeoRegion("europe")],
  ["na", inGeoRegion("north_america")],
  ["sa", inGeoRegion("south_america")],
  ["us", REGIONS.filter((region) => region.name.endsWith("(US)")).map((region) => region.code)],
]);

const MAX_LENGTH = 400;

function inGeoRegion(geoRegion: string): readonly RegionCode[] {
  return REGIONS.filter((region) => region.geoRegion === geoRegion).map((region) => region.code);
}

/** A comma list of codes and aliases, in its order. `any`: one of them was, so every region will do. Undefined: malformed. */
export function expandRegions(list: string): readonly RegionCode[] | "any" | undefined {
  if (list.length > MAX_LENGTH) return undefined;
  const regions: RegionCode[] = [];
  let any = false;
  for (const item of list.split(",")) {
    const name = item.trim().toLowerCase();
    if (name === "any") {
      any = true;
      continue;
    }
    const alias = ALIASES.get(name);
    if (alias !== undefined) {
      regions.push(...alias);
      continue;
    }
    const code = parseRegionCode(name);
    if (!code.ok) return undefined;
    regions.push(code.value);
  }
  return any ? "any" : regions;
}
