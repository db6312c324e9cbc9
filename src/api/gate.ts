import type { IncomingMessage } from "node:http";
import { AppError } from "../core/errors.ts";
import type { NetworkId } from "../core/ids.ts";
import type { RegistryView } from "../registry/view.ts";
import { authenticate, bearersOf, type Principal } from "./tokens.ts";

/** Where a request came in: the computer's loopback, or from inside a network. */
export type Via = { readonly kind: "outside" } | { readonly kind: "inside"; readonly network: NetworkId | undefined };

export interface GateOptions {
  readonly view: RegistryView;
  /** The node's own token, from the state folder. */
  readonly nodeToken: string;
}

/**
 * Who a request speaks for. Undefined: nobody, and it asks only for what everybody may see.
 * @errors unauthorized, forbidden
 */
export function admit(request: IncomingMessage, path: string, via: Via, options: GateOptions): Principal | undefined {
  refuseForeignHost(request, via.kind);
  if (isOpen(request.method ?? "GET", path, via.kind)) return undefined;
  for (const token of bearersOf(request.headers.authorization)) {
    const principal = authenticate(token, options.nodeToken, options.view);
    if (principal !== undefined) return withinNetwork(principal, via, options.view);
  }
  throw new AppError(
    "unauthorized",
    "This needs a token: send `Authorization: Bearer TOKEN`. The node's own is in its state folder, in the file `token`.",
    { details: { next: "flycast tokens create" } },
  );
}

function isOpen(method: string, path: string, kind: Via["kind"]): boolean {
  if (method !== "GET" && method !== "HEAD") return false;
  if (path === "/" || path === "/healthz" || path === "/readyz" || path === "/openapi.json") return true;
  return path === "/metrics" && kind === "outside";
}

const OUTSIDE_HOSTS = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?$/i;
const INSIDE_HOSTS = /^(?:_api\.internal|\[fdaa:[0-9a-f:]+\]|flaps)(?::\d+)?$/i;

/**
 * A page in a browser must not reach the API by a name of its own that it pointed at us (DNS rebinding). The address that
 * the connection came in on needs no name, so it is always good.
 */
function refuseForeignHost(request: IncomingMessage, kind: Via["kind"]): void {
  const host = request.headers.host ?? "";
  const ours = kind === "outside" ? OUTSIDE_HOSTS : INSIDE_HOSTS;
  if (!ours.test(host) && host.replace(/:\d+$/, "") !== localHost(request)) {
    throw new AppError("forbidden", "the Host header names somebody else");
  }
  const origin = request.headers.origin;
  if (origin !== undefined && origin !== `http://${host}`)
    throw new AppError("forbidden", "requests from web pages are not taken");
}

function localHost(request: IncomingMessage): string | undefined {
  const address = request.socket.localAddress?.replace(/^::ffff:/, "");
  return address?.includes(":") === true ? `[${address}]` : address;
}

/** From inside, a token counts only on a network of its own organisation, and the node's own for that organisation alone. */
function withinNetwork(principal: Principal, via: Via, view: RegistryView): Principal {
  if (via.kind === "outside") return principal;
  const network = via.network === undefined ? undefined : view.network(via.network);
  if (network === undefined) throw new AppError("forbidden", "the caller's network is not known");
  if (principal.kind === "org" && principal.org !== network.org) {
    throw new AppError("forbidden", "the token belongs to another organisation than the caller's network");
  }
  return { kind: "org", org: network.org };
}
