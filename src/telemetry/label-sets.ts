/** Labels come from closed sets: whatever a client or an app makes up becomes one of these. */
import { STATUS_CODES } from "node:http";

/** As many time series as HTTP has registered statuses; one that an app made up counts as its class. */
export function statusLabel(status: number): string {
  return Object.hasOwn(STATUS_CODES, status) ? String(status) : statusClass(status);
}

export function statusClass(status: number): string {
  return status >= 100 && status < 600 ? `${Math.floor(status / 100)}xx` : "other";
}

/** `text` when it is one of `allowed`, else `other`. */
export function oneOf(allowed: ReadonlySet<string>, text: string): string {
  return allowed.has(text) ? text : "other";
}

export const DNS_TYPES: ReadonlySet<string> = new Set(
  "A AAAA ANY AXFR CAA CNAME DNSKEY DS HINFO HTTPS IXFR MX NAPTR NS OPT PTR SOA SRV SVCB TLSA TXT".split(" "),
);
export const DNS_RCODES: ReadonlySet<string> = new Set(
  "NOERROR FORMERR SERVFAIL NXDOMAIN NOTIMP REFUSED BADVERS".split(" "),
);
/** Whose name was asked for. */
export const DNS_VIEWS: ReadonlySet<string> = new Set(["internal", "flycast", "reverse", "outside", "none"]);
export const DENIALS: ReadonlySet<string> = new Set(["forged", "denied_forward", "denied_input", "throttled"]);
