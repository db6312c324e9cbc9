import { BlockList, isIPv4, type Socket } from "node:net";
import type { Clock } from "../../core/clock.ts";
import { AppError } from "../../core/errors.ts";
import type { Milliseconds } from "../../core/units.ts";
import { readPreface, type Preface } from "../preface.ts";
import { LONGEST_HEADER, parseProxyHeader } from "./proxy-protocol-parse.ts";
import type { End } from "./proxy-protocol.ts";

/** Which sources must send a PROXY header. */
export type Trusts = (address: string) => boolean;

/** `cidrs` were checked by the configuration; one that cannot be read trusts nobody. */
export function createTrust(cidrs: readonly string[]): Trusts {
  if (cidrs.length === 0) return () => false;
  const list = new BlockList();
  for (const cidr of cidrs) {
    const [address = "", length] = cidr.split("/");
    const family = isIPv4(address) ? "ipv4" : "ipv6";
    if (length === undefined) list.addAddress(address, family);
    else list.addSubnet(address, Number(length), family);
  }
  return (address) => list.check(address, isIPv4(address) ? "ipv4" : "ipv6");
}

/**
 * Reads the header that a trusted load balancer puts before its client's bytes. What it says is reported (in our own PROXY
 * header, Fly-Client-IP, logs) and never decides what the connection may reach.
 * @errors FP12 missing, malformed or too slow; FP10, FP16 the client left
 */
export function readProxyHeader(
  socket: Socket,
  clock: Clock,
  timeout: Milliseconds,
): Promise<Preface<End | undefined>> {
  return readPreface<End | undefined>(socket, undefined, {
    clock,
    timeout,
    longest: LONGEST_HEADER,
    code: "FP12",
    parse(bytes) {
      const parsed = parseProxyHeader(bytes);
      if (parsed.kind === "more") return undefined;
      if (parsed.kind === "invalid") throw new AppError("FP12", `the PROXY header is malformed: ${parsed.why}`);
      return { value: parsed.source, length: parsed.length };
    },
  });
}
