import type { Socket } from "node:net";
import { AppError } from "../../core/errors.ts";
import type { Connection, Handler } from "../context.ts";
import { reset } from "../forward.ts";
import type { Phases } from "../phases.ts";
import { LONGEST_STARTUP, parseFirstMessage, type FirstMessage } from "../postgres/messages.ts";
import { readPreface, type Preface } from "../preface.ts";
import { toProxyError } from "../respond.ts";
import { settle } from "../settle.ts";
import type { Certificates } from "../tls/certificates.ts";
import { describe, secure } from "./tls.ts";

const ALPN = "postgresql";
/** A client asks for GSS, is told no, asks for TLS. Who asks more often is no client. */
const REQUESTS = 2;

/**
 * Answers a Postgres client's request for TLS, ends TLS here, and hands what is inside to `next`. Clients that ask for none
 * (`sslmode=disable`) go on in clear text, as the Machine decides whom it lets in.
 */
export function pgTlsHandler(
  phases: Phases,
  certificates: Certificates,
  next: (connection: Connection) => Handler,
): Handler {
  return {
    async serve(connection, socket, already) {
      let inside: { readonly connection: Connection; readonly socket: Socket; readonly rest: Buffer | undefined };
      try {
        inside = await negotiate(phases, certificates, connection, socket, already);
      } catch (thrown) {
        reset(socket);
        return settle(phases, { subject: connection, error: toProxyError(thrown) });
      }
      await next(inside.connection).serve(inside.connection, inside.socket, inside.rest);
    },
  };
}

async function negotiate(
  phases: Phases,
  certificates: Certificates,
  connection: Connection,
  socket: Socket,
  already: Buffer | undefined,
): Promise<{ readonly connection: Connection; readonly socket: Socket; readonly rest: Buffer | undefined }> {
  const app = phases.view.app(connection.app);
  const canSecure = app !== undefined && certificates.has(app, connection.route.port.tlsOptions);
  let before = already;
  for (let requests = 0; ; requests++) {
    const { value, rest, raw } = await readFirst(phases, socket, before);
    if (value.kind === "ssl-request" || value.kind === "gss-request") {
      // Bytes before our answer would be taken for what came through the encryption (CVE-2021-23222).
      if (rest.length > 0 || requests >= REQUESTS)
        throw new AppError("PT04", "the client went on before its request for encryption was answered");
      const yes = value.kind === "ssl-request" && canSecure;
      socket.write(yes ? "S" : "N");
      before = undefined;
      if (!yes) continue;
    } else if (value.kind !== "direct-tls") {
      return { connection, socket, rest: raw };
    }
    const isDirect = value.kind === "direct-tls";
    const secured = await secure(phases, certificates, connection, socket, isDirect ? raw : undefined, {
      alpn: [ALPN],
    });
    const tls = describe(secured);
    // Without it a web page could be made to talk to a database (PostgreSQL 17, "sslnegotiation").
    if (isDirect && tls.alpn !== ALPN) throw new AppError("PT04", "direct TLS needs the protocol name postgresql");
    return { connection: { ...connection, tls }, socket: secured, rest: undefined };
  }
}

async function readFirst(
  phases: Phases,
  socket: Socket,
  already: Buffer | undefined,
): Promise<Preface<FirstMessage> & { readonly raw: Buffer }> {
  const { value, rest } = await readPreface(socket, already, {
    clock: phases.clock,
    timeout: phases.limits().headTimeout,
    longest: LONGEST_STARTUP + 8,
    code: "FP09",
    parse(bytes) {
      const parsed = parseFirstMessage(bytes);
      return parsed === undefined ? undefined : { value: parsed, length: 0 };
    },
  });
  return { value: value.value, rest: rest.subarray(value.length), raw: rest };
}
