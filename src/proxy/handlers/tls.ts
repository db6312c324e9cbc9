import type { Socket } from "node:net";
import { TLSSocket, type SecureContext } from "node:tls";
import type { TlsOptions } from "../../config/model.ts";
import { AppError, toAppError } from "../../core/errors.ts";
import type { App } from "../../registry/model.ts";
import type { Connection, Handler } from "../context.ts";
import { reset } from "../forward.ts";
import type { Phases } from "../phases.ts";
import { toProxyError } from "../respond.ts";
import { settle } from "../settle.ts";
import type { Certificates } from "../tls/certificates.ts";

type HandlerFor = (connection: Connection) => Handler;

/** Ends TLS here; what is inside goes to the next handler. Nothing is woken before the handshake is complete. */
export function tlsHandler(phases: Phases, certificates: Certificates, next: HandlerFor): Handler {
  return {
    async serve(connection, socket, already) {
      const { port } = connection.route;
      // The proxy's choice where the port makes none: what its handlers can speak.
      const alpn = port.tlsOptions.alpn ?? (port.handlers.has("http") ? ["h2", "http/1.1"] : []);
      let secured;
      try {
        secured = await secure(phases, certificates, connection, socket, already, { alpn });
      } catch (thrown) {
        reset(socket);
        return settle(phases, { subject: connection, error: toProxyError(thrown) });
      }
      const inside = { ...connection, tls: describe(secured) };
      await next(inside).serve(inside, secured, undefined);
    },
  };
}

/**
 * The server's side of a handshake on an accepted connection. `already`: bytes of it that were read before.
 * @errors FP04 too many at once, PT03 the client ended it, PT04 it failed, PT05, PT06 no certificate, PT08 it took longer than `head_timeout`
 */
export async function secure(
  phases: Phases,
  certificates: Certificates,
  connection: Connection,
  socket: Socket,
  already: Buffer | undefined,
  options: { readonly alpn: readonly string[] },
): Promise<TLSSocket> {
  const room = phases.startHandshake(connection.network);
  if (!room.ok) throw new AppError(room.error);
  try {
    return await shakeHands(phases, certificates, connection, socket, already, options);
  } finally {
    room.value();
  }
}

function shakeHands(
  phases: Phases,
  certificates: Certificates,
  connection: Connection,
  socket: Socket,
  already: Buffer | undefined,
  options: { readonly alpn: readonly string[] },
): Promise<TLSSocket> {
  const app = phases.view.app(connection.app);
  const { tlsOptions } = connection.route.port;
  if (app === undefined || !certificates.has(app, tlsOptions)) return Promise.reject(new AppError("PT06"));

  return new Promise((resolve, reject) => {
    if (already !== undefined && already.length > 0) socket.unshift(already);
    let refusal: AppError | undefined;
    const secured = new TLSSocket(socket, {
      isServer: true,
      ...(options.alpn.length > 0 && { ALPNProtocols: [...options.alpn] }),
      SNICallback: (serverName, callback) => {
        const outcome = pick(certificates, app, tlsOptions, serverName);
        if (outcome instanceof AppError) callback((refusal = outcome));
        else callback(null, outcome);
      },
      // For clients that name nobody.
      ...defaultContext(certificates, app, tlsOptions),
    });
    const timer = phases.clock.after(phases.limits().headTimeout, () => fail(new AppError("PT08")));
    const stop = (): void => {
      timer.cancel();
      secured.off("secure", onSecure);
      secured.off("error", onError);
      secured.off("end", onEnd);
      secured.off("close", onClose);
      secured.pause();
    };
    const fail = (error: AppError): void => {
      stop();
      secured.destroy();
      reject(error);
    };
    const onSecure = (): void => {
      stop();
      resolve(secured);
    };
    const onError = (cause: Error & { code?: string }): void =>
      fail(refusal ?? new AppError(cause.code === "ECONNRESET" ? "PT03" : "PT04", undefined, { cause }));
    const onEnd = (): void => fail(new AppError("PT03"));
    const onClose = (): void => fail(refusal ?? new AppError("PT03"));
    // Stays: an error between two owners must not become an uncaught exception.
    secured.on("error", () => {});
    secured.on("secure", onSecure);
    secured.on("error", onError);
    secured.on("end", onEnd);
    secured.on("close", onClose);
    // Its end is told only to those who read; bytes for the app cannot come before "secure".
    secured.resume();
  });
}

export function describe(secured: TLSSocket): NonNullable<Connection["tls"]> {
  return {
    serverName: serverNameOf(secured),
    alpn: typeof secured.alpnProtocol === "string" ? secured.alpnProtocol : undefined,
    version: secured.getProtocol() ?? "unknown",
  };
}

/** What the client asked for; Node sets it on server sockets, where its types do not know of it. */
function serverNameOf(secured: TLSSocket): string | undefined {
  const name: unknown = "servername" in secured ? secured.servername : undefined;
  return typeof name === "string" && name !== "" ? name : undefined;
}

function pick(
  certificates: Certificates,
  app: App,
  options: TlsOptions,
  serverName: string | undefined,
): SecureContext | AppError {
  try {
    return certificates.contextFor(app, options, serverName === "" ? undefined : serverName);
  } catch (thrown) {
    return toAppError(thrown, "PT06");
  }
}

function defaultContext(
  certificates: Certificates,
  app: App,
  options: TlsOptions,
): { readonly secureContext?: SecureContext } {
  const context = pick(certificates, app, options, undefined);
  return context instanceof AppError ? {} : { secureContext: context };
}
