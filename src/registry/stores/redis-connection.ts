import { Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { AbstractConnector, Redis, type RedisOptions } from "ioredis";
import { AppError } from "../../core/errors.ts";

/** Opens a connected TCP socket; in the lab only the outer process can. */
export type Dial = (host: string, port: number) => Promise<Socket>;

const COMMAND_TIMEOUT = 5000;

/**
 * A connection that reconnects by itself. Nothing is sent twice and nothing waits for better times: who asks while it is
 * away is told at once, because only the asker knows whether asking again is safe.
 */
export function redisConnection(
  url: string,
  dial: Dial | undefined,
  options: { readonly commandTimeout?: number } = {},
): Redis {
  const redis = new Redis(url, {
    lazyConnect: true,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    connectTimeout: COMMAND_TIMEOUT,
    commandTimeout: COMMAND_TIMEOUT,
    retryStrategy: (times: number) => Math.min(times * 50, 2000),
    ...(dial === undefined ? {} : { Connector: connectorOver(new URL(url), dial) }),
    ...options,
  });
  // Said by whoever's command fails; without a listener it would end the process.
  redis.on("error", () => undefined);
  return redis;
}

/** Where a registry is, without the password that its URL may hold. */
export function shownUrl(url: string): string {
  const { protocol, host, pathname } = new URL(url);
  return `${protocol}//${host}${pathname}`;
}

export function redisError(url: string, thrown: unknown): AppError {
  if (thrown instanceof AppError) return thrown;
  const why = thrown instanceof Error ? thrown.message : String(thrown);
  return new AppError("node_unreachable", `the registry at ${shownUrl(url)} does not answer: ${why}`, {
    cause: thrown,
  });
}

function connectorOver(url: URL, dial: Dial): NonNullable<RedisOptions["Connector"]> {
  return class extends AbstractConnector {
    constructor() {
      super(COMMAND_TIMEOUT);
    }

    override async connect() {
      this.connecting = true;
      const host = url.hostname.replace(/^\[|\]$/g, "");
      const socket = await dial(host, url.port === "" ? 6379 : Number(url.port)).catch(failed);
      if (!this.connecting) {
        socket.destroy();
        throw new Error("the connection was closed");
      }
      this.stream = url.protocol === "rediss:" ? connectTls({ socket, servername: host }) : socket;
      return this.stream;
    }
  };
}

/** To the client a connector that throws is over for good; a socket that fails is tried again. */
function failed(thrown: unknown): Socket {
  const socket = new Socket();
  setImmediate(() => socket.destroy(thrown instanceof Error ? thrown : new Error(String(thrown))));
  return socket;
}
