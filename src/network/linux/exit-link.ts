import { networkInterfaces } from "node:os";

/** Name of the interface that leads out of the core's namespace, however it is made. */
export const EXIT = "exit0";

/** The computer's own IPv4 addresses, as they are now, but those that no way out leads to anyway. */
export function ownAddresses(): readonly string[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ family, internal }) => family === "IPv4" && !internal)
    .map(({ address }) => address)
    .filter((address) => !address.startsWith("169.254."));
}
