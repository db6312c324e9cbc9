import { TOKEN } from "./characters.ts";

/**
 * Field names that mean something to the proxy, each with a small number. Everything that starts with `fly-` is
 * `FLY`; the few of those that a client or an app may send are told apart later, by name, because they are rare.
 */
export const NAME = {
  other: 0,
  fly: 1,
  host: 2,
  connection: 3,
  "content-length": 4,
  "transfer-encoding": 5,
  expect: 6,
  upgrade: 7,
  te: 8,
  "keep-alive": 9,
  "proxy-connection": 10,
  "http2-settings": 11,
  "x-forwarded-for": 12,
  "x-forwarded-proto": 13,
  "x-forwarded-ssl": 14,
  "x-forwarded-port": 15,
  via: 16,
  server: 17,
  "content-type": 18,
  "content-encoding": 19,
  "cache-control": 20,
  "accept-encoding": 21,
  cookie: 22,
  traceparent: 23,
  trailer: 24,
  "user-agent": 25,
  etag: 26,
  "accept-ranges": 27,
  vary: 28,
  "content-range": 29,
  date: 30,
} as const;

export type KnownName = (typeof NAME)[keyof typeof NAME];

interface Entry {
  readonly kind: KnownName;
  readonly codes: Uint8Array;
}

const SLOTS: readonly (readonly Entry[] | undefined)[] = buildSlots();

function slotOf(length: number, first: number, last: number): number {
  return (length * 37 + first * 5 + last * 3) & 255;
}

function buildSlots(): readonly (readonly Entry[] | undefined)[] {
  const slots: Entry[][] = [];
  for (const [name, kind] of Object.entries(NAME)) {
    if (kind === NAME.other || kind === NAME.fly) continue;
    const codes = Uint8Array.from(name, (char) => char.charCodeAt(0));
    const slot = slotOf(codes.length, codes[0] ?? 0, codes[codes.length - 1] ?? 0);
    (slots[slot] ??= []).push({ kind, codes });
  }
  return Array.from({ length: 256 }, (_, index) => slots[index]);
}

/** The number of the name at `start` to `end` of `bytes`, whatever its case and its dashes. The bytes are a checked token. */
export function classify(bytes: Uint8Array, start: number, end: number): KnownName {
  const first = TOKEN[bytes[start] as number] as number;
  if (
    first === 0x66 &&
    end - start >= 4 &&
    TOKEN[bytes[start + 1] as number] === 0x6c &&
    TOKEN[bytes[start + 2] as number] === 0x79 &&
    TOKEN[bytes[start + 3] as number] === 0x2d
  ) {
    return NAME.fly;
  }
  const entries = SLOTS[slotOf(end - start, first, TOKEN[bytes[end - 1] as number] as number)];
  if (entries === undefined) return NAME.other;
  for (const entry of entries) {
    const codes = entry.codes;
    if (codes.length !== end - start) continue;
    let i = 0;
    while (i < codes.length && TOKEN[bytes[start + i] as number] === codes[i]) i++;
    if (i === codes.length) return entry.kind;
  }
  return NAME.other;
}
