import type { Server, Socket } from "node:net";
import type { Clock, Timer } from "../core/clock.ts";
import type { NetworkId } from "../core/ids.ts";
import type { Milliseconds } from "../core/units.ts";
import { plainAddress } from "../network/address.ts";
import type { Resolve } from "./resolver.ts";
import type { Shares } from "./shares.ts";
import type { Asker } from "./zone.ts";

export interface TcpHow {
  readonly resolve: Resolve;
  readonly askerOf: (source: string) => Asker | undefined;
  readonly clock: Clock;
  readonly connections: Shares<NetworkId>;
  readonly idle: Milliseconds;
  readonly lifetime: Milliseconds;
}

/** Questions of one connection that wait for an upstream; reading goes on when one is answered. */
const MAX_PENDING = 32;
/** Answers that the client has not taken yet. Bytes. */
const MAX_UNSENT = 256 * 1024;

/** Answers on a listening server until the returned function is called, which also ends its connections. */
export function serveTcp(server: Server, how: TcpHow): () => void {
  const open = new Set<Socket>();
  const onConnection = (socket: Socket): void => {
    // Without an address the client has gone already.
    const source = plainAddress(socket.remoteAddress ?? "");
    const asker = how.askerOf(source);
    const share = source === "" ? undefined : how.connections.take(source, asker?.network);
    socket.on("error", () => socket.destroy());
    if (share === undefined) {
      socket.destroy();
      return;
    }
    open.add(socket);
    socket.once("close", () => {
      open.delete(socket);
      share.release();
    });
    serveConnection(socket, how, asker, source);
  };
  server.on("connection", onConnection);
  server.on("error", ignore);
  return () => {
    server.off("connection", onConnection);
    for (const socket of open) socket.destroy();
  };
}

function ignore(): void {}

/** Questions may be pipelined, split and glued in any way; answers go out as they are ready (RFC 7766, 6 and 7). */
function serveConnection(socket: Socket, how: TcpHow, asker: Asker | undefined, source: string): void {
  let buffer: Buffer = Buffer.alloc(0);
  let used = 0;
  let pending = 0;
  let ended = false;
  let idle: Timer | undefined;
  const lifetime = how.clock.after(how.lifetime, () => socket.destroy());
  const touch = (): void => {
    idle?.cancel();
    idle = how.clock.after(how.idle, () => socket.destroy());
  };
  touch();

  const send = (answer: Buffer): void => {
    if (!socket.writable) return;
    // Length and message in one write: some clients read twice and expect both.
    const framed = Buffer.allocUnsafe(2 + answer.length);
    framed.writeUInt16BE(answer.length, 0);
    answer.copy(framed, 2);
    socket.write(framed);
  };
  const busy = (): boolean => pending >= MAX_PENDING || socket.writableLength > MAX_UNSENT;
  const proceed = (): void => {
    const received = buffer.subarray(0, used);
    let offset = 0;
    while (!busy() && received.length - offset >= 2) {
      const end = offset + 2 + received.readUInt16BE(offset);
      if (received.length < end) break;
      const message = received.subarray(offset + 2, end);
      offset = end;
      touch();
      const answer = how.resolve(message, asker, source, "tcp");
      // Not even a query: nobody who speaks DNS is there.
      if (answer === undefined) return void socket.destroy();
      if (Buffer.isBuffer(answer)) {
        send(answer);
        continue;
      }
      pending++;
      void answer.then((late) => {
        pending--;
        if (socket.destroyed) return;
        touch();
        send(late);
        proceed();
      });
    }
    buffer = buffer.subarray(offset);
    used -= offset;
    if (busy()) socket.pause();
    else socket.resume();
    if (ended && pending === 0 && !busy()) socket.end();
  };

  socket.on("data", (chunk: Buffer) => {
    if (used === 0) {
      buffer = chunk;
    } else {
      // Grown by doubling: a client that sends byte by byte must not have each one copied again and again.
      if (used + chunk.length > buffer.length) {
        const grown = Buffer.allocUnsafe(Math.max(used + chunk.length, used * 2));
        buffer.copy(grown, 0, 0, used);
        buffer = grown;
      }
      chunk.copy(buffer, used);
    }
    used += chunk.length;
    proceed();
  });
  socket.on("drain", proceed);
  socket.on("end", () => {
    ended = true;
    proceed();
  });
  socket.once("close", () => {
    lifetime.cancel();
    idle?.cancel();
  });
}
