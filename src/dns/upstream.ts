/** Where questions about other people's names go. */
import { isIP } from "node:net";
import { AppError } from "../core/errors.ts";
import { coversServedDomain } from "../core/served-domains.ts";
import { parseIp6, plainAddress } from "../network/address.ts";

/** A resolver that others run. */
export interface Upstream {
  /** An IP address; a link-local one with its zone. */
  readonly host: string;
  readonly port: number;
  readonly family: 4 | 6;
}

const DNS_PORT = 53;

/** `address`, `address:port` or `[address]:port`. Undefined for anything else: a host name would need a resolver itself. */
export function parseUpstream(text: string): Upstream | undefined {
  const bracketed = /^\[([^\]]+)\](?::(\d{1,5}))?$/.exec(text);
  const ip4 = /^([0-9.]+)(?::(\d{1,5}))?$/.exec(text);
  const host = bracketed?.[1] ?? ip4?.[1] ?? text;
  const port = Number(bracketed?.[2] ?? ip4?.[2] ?? DNS_PORT);
  const family = isIP(host);
  if (port < 1 || port > 65_535 || (family !== 4 && family !== 6)) return undefined;
  return { host, port, family };
}

/** @errors config_invalid naming the text that is no address */
export function requireUpstream(text: string): Upstream {
  const upstream = parseUpstream(text);
  if (upstream !== undefined) return upstream;
  throw new AppError("config_invalid", `[dns]: "${text}" is not an upstream: write an IP address, or address:port`);
}

/** The one spelling of an address as sockets report it, so that equal addresses are equal strings. */
export function canonicalHost(host: string): string {
  const plain = plainAddress(host);
  const ip6 = parseIp6(plain);
  return ip6.ok ? ip6.value : plain;
}

export interface Exception {
  /** Wire form of the domain, as in `Query.key`. */
  readonly apex: string;
  readonly upstream: Upstream;
}

/**
 * `[dns] forward`, longest domain first. It may name a domain below one of ours (`google.internal`), never all of one.
 * @errors config_invalid
 */
export function parseExceptions(forward: ReadonlyMap<string, string>): readonly Exception[] {
  return [...forward]
    .map(([domain, text]) => {
      const plain = domain.toLowerCase().replace(/\.$/, "");
      const labels = plain.split(".");
      if (labels.some((label) => label.length < 1 || label.length > 63 || !/^[\x21-\x7e]+$/.test(label))) {
        throw new AppError("config_invalid", `[dns] forward: "${domain}" is not a domain name`);
      }
      const apex = labels.map((label) => String.fromCharCode(label.length) + label).join("");
      if (coversServedDomain(plain)) {
        throw new AppError(
          "config_invalid",
          `[dns] forward: "${domain}" is served here; only names below it can go elsewhere`,
        );
      }
      return { apex, upstream: requireUpstream(text) };
    })
    .toSorted((a, b) => b.apex.length - a.apex.length);
}
