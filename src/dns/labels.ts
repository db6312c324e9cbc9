/** Names of types and rcodes: the closed sets that metrics use, and what `dig` prints. */

const TYPES = {
  1: "A",
  2: "NS",
  5: "CNAME",
  6: "SOA",
  12: "PTR",
  13: "HINFO",
  15: "MX",
  16: "TXT",
  28: "AAAA",
  33: "SRV",
  35: "NAPTR",
  41: "OPT",
  43: "DS",
  48: "DNSKEY",
  52: "TLSA",
  64: "SVCB",
  65: "HTTPS",
  251: "IXFR",
  252: "AXFR",
  255: "ANY",
  257: "CAA",
} as const satisfies Record<number, string>;

const RCODES = {
  0: "NOERROR",
  1: "FORMERR",
  2: "SERVFAIL",
  3: "NXDOMAIN",
  4: "NOTIMP",
  5: "REFUSED",
  16: "BADVERS",
} as const satisfies Record<number, string>;

export type TypeLabel = (typeof TYPES)[keyof typeof TYPES] | "other";
export type RcodeName = (typeof RCODES)[keyof typeof RCODES] | "other";

const typeNames: ReadonlyMap<number, TypeLabel> = new Map(Object.entries(TYPES).map(([n, name]) => [Number(n), name]));
const rcodeNames: ReadonlyMap<number, RcodeName> = new Map(
  Object.entries(RCODES).map(([n, name]) => [Number(n), name]),
);

export function typeLabel(type: number): TypeLabel {
  return typeNames.get(type) ?? "other";
}

export function rcodeName(rcode: number): RcodeName {
  return rcodeNames.get(rcode) ?? "other";
}

/** The number of a type: its name in any case, or `TYPE123` (RFC 3597, 5). */
export function typeNumber(name: string): number | undefined {
  const upper = name.toUpperCase();
  for (const [number, known] of typeNames) if (known === upper) return number;
  const generic = /^TYPE(\d{1,5})$/.exec(upper);
  const number = Number(generic?.[1] ?? Number.NaN);
  return number <= 65_535 ? number : undefined;
}
