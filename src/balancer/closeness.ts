import type { RegionEntry } from "../config/model.ts";
import type { RegionCode } from "../core/ids.ts";
import { estimatedRttMs, REGIONS } from "../core/regions.ts";

/** Round-trip time between two regions, in milliseconds: 0 within one, always finite. */
export type Closeness = (from: RegionCode, to: RegionCode) => number;

/** Stands for "somewhere": further than any two places on Earth, and still a number that can be compared. */
const UNKNOWN_RTT_MS = 1000;

/**
 * What is known before anybody measures: `[regions] rtt_ms` where declared (in either direction), else great-circle
 * distance between coordinates, declared ones over the built-in table. Answers are remembered, so asking is a look-up.
 */
export function createCloseness(declared: readonly RegionEntry[]): Closeness {
  const places = new Map<string, { lat: number; lon: number }>(REGIONS.map((region) => [region.code, region]));
  const rtt = new Map<string, number>();
  for (const { code, lat, lon } of declared) {
    if (lat !== undefined && lon !== undefined) places.set(code, { lat, lon });
  }
  for (const { code, rttMs } of declared) {
    for (const [other, value] of rttMs) {
      // The other side's own word about this pair wins over the reverse of ours.
      rtt.set(`${code} ${other}`, value);
      if (!rtt.has(`${other} ${code}`)) rtt.set(`${other} ${code}`, value);
    }
  }

  return (from, to) => {
    if (from === to) return 0;
    const key = `${from} ${to}`;
    const known = rtt.get(key);
    if (known !== undefined) return known;
    const a = places.get(from);
    const b = places.get(to);
    if (a === undefined || b === undefined) return UNKNOWN_RTT_MS;
    const estimate = estimatedRttMs(a, b);
    // Only pairs of known regions are remembered, so the map is bounded by the table.
    rtt.set(key, estimate);
    return estimate;
  };
}
