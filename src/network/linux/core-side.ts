import type { Socket as UdpSocket } from "node:dgram";
import { createServer, type Server, type Socket } from "node:net";
import { AppError, ERROR_CODES, type ErrorCode } from "../../core/errors.ts";
import type { Ip6 } from "../../core/ids.ts";
import type { Outside } from "../outside.ts";
import { LISTEN_BACKLOG, SERVER_OPTIONS } from "../outside-direct.ts";
import { isWireMessage, type CoreMessage, type Opening, type OuterFacts, type OuterMessage } from "./wire.ts";

/** Host mode: what only the process outside can do to the computer's own network. For `createLinuxPlane`. @errors internal */
export interface ComputerSide {
  /** Makes the computer a client of a network. */
  join(cidr: string, address: Ip6): Promise<void>;
  /** Makes it a client of no other than those of these addresses. */
  leave(keep: readonly Ip6[]): Promise<void>;
  /** Has its resolver ask this server for our names, where it has one that can be told so. */
  names(server: Ip6): Promise<void>;
}

/** The core's end of the channel to the process outside. */
export interface Outer {
  readonly facts: OuterFacts;
  readonly outside: Outside;
  readonly computer: ComputerSide;
  /** To `onMessage` of `launchCore`. */
  send(message: unknown): void;
  onMessage(listener: (message: unknown) => void): void;
}

interface Waiting {
  readonly settle: (handle: unknown) => void;
  readonly refuse: (error: AppError) => void;
}

/** A listener that was handed in, and the connections that the outer copy accepted before it was closed. */
interface Door {
  readonly server: Server | undefined;
  readonly stragglers: Socket[];
}

/**
 * Joins the core to the process that launched it. To be called once, first of all. When that process is gone, so is the
 * reason to run: the core exits at once, with code 3.
 * @errors internal when this process was not started by `launchCore`
 */
export function connectOuter(): Promise<Outer> {
  if (process.send === undefined) {
    return Promise.reject(new AppError("internal", "this program is started by flycast up, not by hand"));
  }
  const waiting = new Map<number, Waiting>();
  const doors = new Map<number, Door>();
  const appListeners: ((message: unknown) => void)[] = [];
  // Messages that came before anybody listened.
  const early: unknown[] = [];
  let sequence = 0;

  const tell = (message: CoreMessage): void => {
    if (process.connected) process.send?.(message, undefined, {}, () => undefined);
  };

  const ask = (message: CoreMessage & { readonly id: number }): Promise<void> =>
    new Promise((settle, refuse) => {
      waiting.set(message.id, { settle: () => settle(), refuse });
      tell(message);
    });

  const open = (
    what: Opening,
    host: string,
    port: number,
  ): Promise<{ readonly id: number; readonly handle: unknown }> => {
    const id = ++sequence;
    return new Promise((resolve, reject) => {
      if (what === "listen") doors.set(id, { server: undefined, stragglers: [] });
      waiting.set(id, { settle: (handle) => resolve({ id, handle }), refuse: reject });
      tell({ flycast: "open", id, what, host, port });
    });
  };

  const outside: Outside = {
    async listen(host, port) {
      const { id, handle } = await open("listen", host, port);
      const server = await listenAgain(handle as Server);
      server.once("close", () => doors.delete(id));
      tell({ flycast: "taken", id });
      // Whoever asked attaches its listeners as soon as it has the server; stragglers wait until then.
      setImmediate(() => {
        for (const socket of doors.get(id)?.stragglers ?? []) server.emit("connection", socket);
        if (server.listening) doors.set(id, { server, stragglers: [] });
      });
      return server;
    },
    async bindUdp(host, port) {
      const { id, handle } = await open("udp", host, port);
      tell({ flycast: "taken", id });
      return handle as UdpSocket;
    },
    async dial(host, port) {
      const { handle } = await open("dial", host, port);
      return withOurOptions(handle as Socket);
    },
  };

  return new Promise((resolve) => {
    process.once("disconnect", () => process.exit(3));
    process.on("message", (raw: unknown, handle: unknown) => {
      if (!isWireMessage(raw)) return;
      const message = raw as OuterMessage;
      switch (message.flycast) {
        case "welcome":
          resolve({
            facts: message.outer,
            outside,
            computer: {
              join: (cidr, address) => ask({ flycast: "join", id: ++sequence, cidr, address }),
              leave: (keep) => ask({ flycast: "leave", id: ++sequence, keep }),
              names: (server) => ask({ flycast: "names", id: ++sequence, server }),
            },
            send: (body) => tell({ flycast: "app", body }),
            onMessage(listener) {
              appListeners.push(listener);
              for (const body of early.splice(0)) listener(body);
            },
          });
          return;
        case "opened": {
          const waiter = waiting.get(message.id);
          waiting.delete(message.id);
          // A connected socket can end on its way in; then nothing comes with the message.
          if (handle === undefined) waiter?.refuse(new AppError("node_unreachable", "the connection ended at once"));
          else waiter?.settle(handle);
          return;
        }
        case "done":
          waiting.get(message.id)?.settle(undefined);
          waiting.delete(message.id);
          return;
        case "refused":
          doors.delete(message.id);
          waiting.get(message.id)?.refuse(new AppError(parseCode(message.code), message.message));
          waiting.delete(message.id);
          return;
        case "straggler": {
          if (handle === undefined) return;
          const socket = withOurOptions(handle as Socket);
          const door = doors.get(message.id);
          if (door?.server !== undefined) door.server.emit("connection", socket);
          else if (door !== undefined) door.stragglers.push(socket);
          else socket.destroy();
          return;
        }
        case "app":
          if (appListeners.length === 0) early.push(message.body);
          for (const listener of appListeners) listener(message.body);
      }
    });
    tell({ flycast: "hello", pid: process.pid });
  });
}

/** The descriptor travels, the options of the server do not: so a server of ours listens on it again. */
function listenAgain(received: Server): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer(SERVER_OPTIONS);
    server.once("error", reject);
    server.listen(received, LISTEN_BACKLOG, () => {
      server.off("error", reject);
      resolve(server);
    });
  });
}

function withOurOptions(socket: Socket): Socket {
  socket.allowHalfOpen = true;
  socket.setNoDelay(true);
  return socket;
}

function parseCode(code: string): ErrorCode {
  return code in ERROR_CODES ? (code as ErrorCode) : "internal";
}
