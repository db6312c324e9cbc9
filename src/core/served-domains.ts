/**
 * The domains whose names the node answers itself and never forwards. `reverse` is that of the addresses in fdaa::/16: it is
 * empty, as on the platform, and here so that a stray PTR question does not tell a resolver on the Internet who talks to
 * whom (RFC 6303, 4.4).
 */
export const SERVED_DOMAINS = {
  internal: "internal",
  flycast: "flycast",
  reverse: "a.a.d.f.ip6.arpa",
} as const;

/** Whether questions about all of this domain would be questions about one of ours. Lower case, without a dot at its end. */
export function coversServedDomain(domain: string): boolean {
  return Object.values(SERVED_DOMAINS).some((served) => served === domain || served.endsWith(`.${domain}`));
}
