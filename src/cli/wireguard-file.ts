import { open, rm } from "node:fs/promises";
import { basename } from "node:path";
import { AppError } from "../core/errors.ts";
import { dnsAddress, networkCidr, networkOf, parseIp6 } from "../network/address.ts";

export interface ClientFile {
  /** Base64. */
  readonly privateKey: string;
  /** The client's own address. */
  readonly address: string;
  readonly gatewayKey: string;
  readonly endpoint: { readonly host: string; readonly port: number };
}

/**
 * The file that a WireGuard client loads, in the form of flyctl's `wireguard create` (superfly/flyctl internal/wireguard,
 * 2026-08-21): the client's /120, DNS at `<prefix>::3`, the network's /48, a keepalive every 15 seconds.
 * @errors internal when the address is not on a private network
 */
export function clientFile({ privateKey, address, gatewayKey, endpoint }: ClientFile): string {
  const ip = parseIp6(address);
  const network = ip.ok ? networkOf(ip.value) : undefined;
  if (!ip.ok || network === undefined) throw new AppError("internal", `the node gave no private address: "${address}"`);
  const host = endpoint.host.includes(":") ? `[${endpoint.host}]` : endpoint.host;
  return [
    "",
    "[Interface]",
    `PrivateKey = ${privateKey}`,
    `Address = ${ip.value}/120`,
    `DNS = ${dnsAddress(network)}`,
    "",
    "[Peer]",
    `PublicKey = ${gatewayKey}`,
    `AllowedIPs = ${networkCidr(network)}`,
    `Endpoint = ${host}:${endpoint.port}`,
    "PersistentKeepalive = 15",
    "",
    "",
  ].join("\n");
}

/** `static-HOST-EMAIL-ULID`, as flyctl names a peer that nobody named, cut so that it is a name in DNS too. */
export function defaultPeerName(host: string, email: string, ulid: string): string {
  const plain = (text: string): string =>
    text
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, "-")
      .replace(/^-|-$/g, "");
  const fixed = `static--${ulid}`.length;
  const middle = `${plain(host)}-${plain(email)}`.slice(0, 63 - fixed).replace(/-$/, "");
  return `static-${middle}-${ulid.toLowerCase()}`;
}

/** `wg-quick` takes the interface's name from the file's, and only from a file that ends in `.conf`. Said, not refused. */
export function checkFileName(path: string): void {
  const name = basename(path);
  if (path === "stdout" || /^[a-zA-Z0-9_=+.-]{1,15}\.conf$/.test(name)) return;
  process.stderr.write(
    `Warning: wg-quick wants a file such as laptop.conf: at most 15 letters, digits and dashes before ".conf", which "${name}" is not.\n`,
  );
}

/** A new file that only its owner can read. @errors name_taken when it is there already, no_privilege, not_found */
export async function openClientFile(
  path: string,
): Promise<{ write(text: string): Promise<void>; discard(): Promise<void> }> {
  const file = await open(path, "wx", 0o600).catch((thrown: NodeJS.ErrnoException) => {
    if (thrown.code === "EEXIST") throw new AppError("name_taken", `${path} exists already: name another file.`);
    throw new AppError("no_privilege", `${path} cannot be written: ${thrown.message}`, { cause: thrown });
  });
  return {
    async write(text) {
      await file.writeFile(text);
      await file.close();
    },
    async discard() {
      await file.close().catch(() => undefined);
      await rm(path, { force: true });
    },
  };
}
