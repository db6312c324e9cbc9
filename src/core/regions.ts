import type { RegionCode } from "./ids.ts";

/** A place where Machines can run. Coordinates in degrees; they stand in for distances that nobody has measured yet. */
export interface Region {
  readonly code: RegionCode;
  readonly name: string;
  readonly lat: number;
  readonly lon: number;
  /** Whether the platform runs a WireGuard gateway there; undefined where that is not known (retired regions). */
  readonly gateway: boolean | undefined;
  /** Retired by the platform; still found in old files, so still accepted. */
  readonly deprecated: boolean;
  readonly geoRegion: string;
}

type Row = readonly [string, string, number, number, boolean | undefined, boolean, string];

// The platform's regions (superfly/docs reference/regions, 2026-08-07) with the coordinates its API once reported.
const ROWS: readonly Row[] = [
  ["ams", "Amsterdam, Netherlands", 52.374342, 4.895439, true, false, "europe"],
  ["arn", "Stockholm, Sweden", 59.6512, 17.9178, true, false, "europe"],
  ["bom", "Mumbai, India", 19.097403, 72.874245, true, false, "asia_pacific"],
  ["cdg", "Paris, France", 48.860875, 2.353477, true, false, "europe"],
  ["dfw", "Dallas, Texas (US)", 32.778287, -96.7984, true, false, "north_america"],
  ["ewr", "Secaucus, NJ (US)", 40.789543, -74.05653, true, false, "north_america"],
  ["fra", "Frankfurt, Germany", 50.1167, 8.6833, true, false, "europe"],
  ["gru", "Sao Paulo, Brazil", -23.549664, -46.65435, false, false, "south_america"],
  ["iad", "Ashburn, Virginia (US)", 39.02214, -77.462556, true, false, "north_america"],
  ["jnb", "Johannesburg, South Africa", -26.13629, 28.20298, false, false, "africa"],
  ["lax", "Los Angeles, California (US)", 33.9416, -118.4085, true, false, "north_america"],
  ["lhr", "London, United Kingdom", 51.516434, -0.125656, true, false, "europe"],
  ["nrt", "Tokyo, Japan", 35.62161, 139.74185, true, false, "asia_pacific"],
  ["ord", "Chicago, Illinois (US)", 41.891544, -87.63039, true, false, "north_america"],
  ["sin", "Singapore, Singapore", 1.3, 103.8, true, false, "asia_pacific"],
  ["sjc", "San Jose, California (US)", 37.3516, -121.89674, true, false, "north_america"],
  ["syd", "Sydney, Australia", -33.86603, 151.20693, true, false, "asia_pacific"],
  ["yyz", "Toronto, Canada", 43.64463, -79.384235, true, false, "north_america"],
  ["atl", "Atlanta, Georgia (US)", 33.6407, -84.4277, undefined, true, "north_america"],
  ["bog", "Bogot\u00e1, Colombia", 4.70159, -74.1469, undefined, true, "south_america"],
  ["bos", "Boston, Massachusetts (US)", 42.366978, -71.02236, undefined, true, "north_america"],
  ["den", "Denver, Colorado (US)", 39.7392, -104.9847, undefined, true, "north_america"],
  ["eze", "Ezeiza, Argentina", -34.8222, -58.5358, undefined, true, "south_america"],
  ["gdl", "Guadalajara, Mexico", 20.5217, -103.3109, undefined, true, "north_america"],
  ["gig", "Rio de Janeiro, Brazil", -22.8099, -43.2505, undefined, true, "south_america"],
  ["hkg", "Hong Kong, Hong Kong", 22.25097, 114.203224, undefined, true, "asia_pacific"],
  ["maa", "Chennai (Madras), India", 13.064429, 80.25307, undefined, true, "asia_pacific"],
  ["mad", "Madrid, Spain", 40.4381, -3.82, undefined, true, "europe"],
  ["mia", "Miami, Florida (US)", 25.7877, -80.2241, undefined, true, "north_america"],
  ["otp", "Bucharest, Romania", 44.4325, 26.1039, undefined, true, "europe"],
  ["phx", "Phoenix, Arizona (US)", 33.416084, -112.00948, undefined, true, "north_america"],
  ["qro", "Quer\u00e9taro, Mexico", 20.62, -100.1863, undefined, true, "north_america"],
  ["scl", "Santiago, Chile", -33.36572, -70.64292, undefined, true, "south_america"],
  ["sea", "Seattle, Washington (US)", 47.6097, -122.3331, undefined, true, "north_america"],
  ["waw", "Warsaw, Poland", 52.1657, 20.9671, undefined, true, "europe"],
  ["yul", "Montreal, Canada", 45.48647, -73.75549, undefined, true, "north_america"],
];

export const REGIONS: readonly Region[] = ROWS.map(([code, name, lat, lon, gateway, deprecated, geoRegion]) => ({
  code: code as RegionCode,
  name,
  lat,
  lon,
  gateway,
  deprecated,
  geoRegion,
}));

const EARTH_RADIUS_KM = 6371;
// Light in glass covers about 200 km a millisecond, there and back halves that; cables are not straight (× 1.5).
const KM_PER_RTT_MS = 100 / 1.5;

/** Great-circle distance as an estimated round-trip time in milliseconds. Symmetric; 0 for the same place. */
export function estimatedRttMs(a: { lat: number; lon: number }, b: { lat: number; lon: number }): number {
  const rad = Math.PI / 180;
  const sinLat = Math.sin(((b.lat - a.lat) * rad) / 2);
  const sinLon = Math.sin(((b.lon - a.lon) * rad) / 2);
  const h = sinLat * sinLat + Math.cos(a.lat * rad) * Math.cos(b.lat * rad) * sinLon * sinLon;
  return (2 * EARTH_RADIUS_KM * Math.asin(Math.min(1, Math.sqrt(h)))) / KM_PER_RTT_MS;
}
