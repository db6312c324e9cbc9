import type { Socket as UdpSocket } from "node:dgram";
import type { Server, Socket } from "node:net";
import { AppError, ERROR_CODES, type ErrorCode } from "../../core/errors.ts";
import type { Ip6 } from "../../core/ids.ts";
import type { Outside } from "../outside.ts";
import { LISTEN_BACKLOG, SERVER_OPTIONS } from "../outside-direct.ts";
import { KeptServer, listenerName, rawSocketOf, sendSocket } from "./kept-listeners.ts";
import type { Keeper } from "./inside-sockets.ts";
import { isWireMessage, type CoreMessage, type Opening, type OuterFacts, type OuterMessage } from "./wire.ts";

/** Host mode: what only the process outside can do to the computer's own network. For `createLinuxPlane`. @errors internal */
export interface ComputerSide {
  /** Makes the computer a client of a network. */
  join(cidr: string, address: Ip6): Promise<void>;
  /** Makes it a client of no other than those of these addresses. */
  leave(keep: readonly Ip6[]): Promise<void>;
  /** Has its resolver ask this server for our names, where it has one that can be told so. */
  names(server: Ip6): Promise<void>;
  /** Keeps our listeners open when we are gone. */
  readonly keeper: Keeper;
  /** Says that everything listens that shall: what an earlier core kept beyond that is closed. */
  settled(): void;
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
  readonly settle: (handle: unknown, kept: boolean) => void;
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
  ): Promise<{ readonly id: number; readonly handle: unknown; readonly kept: boolean }> => {
    const id = ++sequence;
    return new Promise((resolve, reject) => {
      if (what === "listen") doors.set(id, { server: undefined, stragglers: [] });
      waiting.set(id, { settle: (handle, kept) => resolve({ id, handle, kept }), refuse: reject });
      tell({ flycast: "open", id, what, host, port });
    });
  };

  const keeper: Keeper = {
    take(name) {
      const id = ++sequence;
      return new Promise((resolve, refuse) => {
        const settle = (handle: unknown): void => resolve(typeof handle === "object" && handle ? handle : undefined);
        waiting.set(id, { settle, refuse });
        tell({ flycast: "take", id, name });
      });
    },
    keep(name, socket) {
      const raw = rawSocketOf(socket);
      const message: CoreMessage = { flycast: "keep", name };
      if (raw !== undefined) sendSocket(process as Required<typeof process>, message, raw);
    },
    release: (name) => tell({ flycast: "release", name }),
  };

  let persistent = false;
  const outside: Outside = {
    async listen(host, port) {
      const { id, handle, kept } = await open("listen", host, port);
      // A port that was free by chance is nobody's to come back to.
      const keep = persistent && port !== 0;
      const name = listenerName("outside", host, port);
      const server = await listenAgain(handle as Server, () => (keep ? keeper.release(name) : undefined));
      if (keep && !kept) keeper.keep(name, server);
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
          persistent = message.outer.persistent !== undefined;
          resolve({
            facts: message.outer,
            outside,
            computer: {
              join: (cidr, address) => ask({ flycast: "join", id: ++sequence, cidr, address }),
              leave: (keep) => ask({ flycast: "leave", id: ++sequence, keep }),
              names: (server) => ask({ flycast: "names", id: ++sequence, server }),
              keeper,
              settled: () => tell({ flycast: "settled" }),
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
          else waiter?.settle(handle, message.kept === true);
          return;
        }
        case "done":
          waiting.get(message.id)?.settle(undefined, false);
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
function listenAgain(received: Server, released: () => void): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = new KeptServer(SERVER_OPTIONS, released);
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
