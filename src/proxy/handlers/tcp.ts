import type { Socket } from "node:net";
import type { Connection, Handler, Reach, Work } from "../context.ts";
import { NO_WISHES } from "../context.ts";
import { forward, reset } from "../forward.ts";
import { Hold } from "../hold.ts";
import type { Phases } from "../phases.ts";
import { toProxyError } from "../respond.ts";
import { settle } from "../settle.ts";

/** Bytes as they are, for every protocol. The Machine is woken at accept: in many protocols the server speaks first. */
export function tcpHandler(phases: Phases, reach: Reach): Handler {
  return {
    async serve(connection, socket, already) {
      const hold = new Hold(socket, phases.limits().holdBuffer, already);
      const work = rawWork(connection, hold.signal);
      let reached;
      try {
        reached = await reach.reach(work);
      } catch (thrown) {
        hold.take();
        reset(socket);
        return settle(phases, { work, error: toProxyError(thrown) });
      }
      const { claim, socket: upstream } = reached;
      try {
        const forwarded = await forward(socket, upstream, hold.take(), {
          claim,
          clock: phases.clock,
          halfClosedTimeout: phases.limits().halfClosedTimeout,
          onFirstByte: () => reach.firstByte(claim),
        });
        settle(phases, { work, machine: claim.machine, ...forwarded });
      } finally {
        claim.release();
      }
    },
  };
}

/** A raw or upgraded connection as one piece of work: its claim lasts until both directions have ended. */
export function rawWork(connection: Connection, signal: AbortSignal, since = connection.acceptedAt): Work {
  return {
    connection,
    app: connection.app,
    route: connection.route,
    kind: "connection",
    wake: true,
    since,
    wishes: NO_WISHES,
    excluded: new Set(),
    signal,
  };
}

/** How long a socket lives on after it was refused with words: long enough to read them. */
export function farewell(socket: Socket, words: Buffer): void {
  socket.end(words);
  socket.resume();
}
