/** `traceparent` for requests that come without one (W3C Trace Context, level 1, §3.2.2). */

/** A line with CR LF. Not sampled: whoever records traces decides that, and we record none. `random`: random bytes. */
export function newTraceparent(random: (size: number) => Uint8Array): string {
  const ids = Buffer.from(random(24));
  // Ids of nothing but zeros are invalid.
  ids[15] = (ids[15] ?? 0) | 1;
  ids[23] = (ids[23] ?? 0) | 1;
  return `traceparent: 00-${ids.toString("hex", 0, 16)}-${ids.toString("hex", 16)}-00\r\n`;
}
