import type { Socket } from "node:net";
import { TLSSocket, type SecureContext } from "node:tls";
import type { TlsOptions } from "../../config/model.ts";
import { AppError, toAppError } from "../../core/errors.ts";
import { ms, type Milliseconds } from "../../core/units.ts";
import type { App } from "../../registry/model.ts";
import type { Connection, Handler } from "../context.ts";
import { reset } from "../forward.ts";
import type { Phases } from "../phases.ts";
import { readPreface } from "../preface.ts";
import { toProxyError } from "../respond.ts";
import { settle } from "../settle.ts";
import type { Certificates } from "../tls/certificates.ts";

interface Hello {
  readonly app: App;
  readonly connection: Connection;
  readonly socket: Socket;
  /** The client's first bytes. */
  readonly hello: Buffer;
  readonly timeout: Milliseconds;
}

/** Why there is no handshake, in the client's own words (RFC 8446 §6): 112 as other servers say it to a name that they lack. */
const HANDSHAKE_FAILURE = 40;
const UNRECOGNIZED_NAME = 112;
/** How long a client may take to read that. */
const FAREWELL_MS = 1000;

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
        const error = toProxyError(thrown);
        if (error.code === "PT06" && !socket.destroyed) await farewell(phases, socket, alert(HANDSHAKE_FAILURE));
        else reset(socket);
        return settle(phases, { subject: connection, error });
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
  const app = phases.view.app(connection.app);
  if (app === undefined || !certificates.has(app, connection.route.port.tlsOptions)) throw new AppError("PT06");
  const room = phases.startHandshake(connection.network);
  if (!room.ok) throw new AppError(room.error);
  const deadline = phases.clock.now() + phases.limits().headTimeout;
  try {
    // The client's first bytes are what the handshake's work begins with: those of many clients that wait for one moment to
    // send them are taken in turn, too.
    const hello = already ?? (await firstBytes(phases, socket));
    await phases.turn(connection.network);
    const timeout = ms(Math.max(1, deadline - phases.clock.now()));
    return await shakeHands(phases, certificates, { app, connection, socket, hello, timeout }, options);
  } finally {
    room.value();
  }
}

/** What a client of TLS says first; nothing of it is looked at. */
async function firstBytes(phases: Phases, socket: Socket): Promise<Buffer> {
  try {
    const { rest } = await readPreface(socket, undefined, {
      parse: (bytes) => (bytes.length > 0 ? { value: undefined, length: 0 } : undefined),
      clock: phases.clock,
      timeout: phases.limits().headTimeout,
      longest: 1,
      code: "PT08",
    });
    return rest;
  } catch (thrown) {
    const error = toAppError(thrown, "PT03");
    throw error.code === "PT08" ? error : new AppError("PT03", undefined, { cause: error });
  }
}

function shakeHands(
  phases: Phases,
  certificates: Certificates,
  { app, connection, socket, hello, timeout }: Hello,
  options: { readonly alpn: readonly string[] },
): Promise<TLSSocket> {
  const { tlsOptions } = connection.route.port;
  return new Promise((resolve, reject) => {
    if (hello.length > 0) socket.unshift(hello);
    let refusal: AppError | undefined;
    const secured = new TLSSocket(socket, {
      isServer: true,
      ...(options.alpn.length > 0 && { ALPNProtocols: [...options.alpn] }),
      SNICallback: (serverName, callback) => {
        const outcome = pick(certificates, app, tlsOptions, serverName);
        if (!(outcome instanceof AppError)) return callback(null, outcome);
        refusal = outcome;
        // Beside the encryption, which has not begun: what fails here ends without a word otherwise.
        socket.write(alert(UNRECOGNIZED_NAME));
        callback(outcome);
      },
      // For clients that name nobody.
      ...defaultContext(certificates, app, tlsOptions),
    });
    const timer = phases.clock.after(timeout, () => fail(new AppError("PT08")));
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

/** A fatal alert of TLS, as a record that comes before any encryption. */
function alert(description: number): Buffer {
  return Buffer.from([0x15, 3, 3, 0, 2, 2, description]);
}

/** What the client says meanwhile is read: what is left unread would turn our end into a reset that takes our words with it. */
async function farewell(phases: Phases, socket: Socket, words: Buffer): Promise<void> {
  socket.end(words);
  socket.resume();
  const timer = phases.clock.after(ms(FAREWELL_MS), () => socket.destroy());
  await new Promise((resolve) => socket.once("close", resolve));
  timer.cancel();
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
