import type { RemoteInfo, Socket } from "node:dgram";
import { plainAddress } from "../network/address.ts";
import type { Resolve } from "./resolver.ts";
import type { Asker } from "./zone.ts";

export interface UdpHow {
  readonly resolve: Resolve;
  readonly askerOf: (source: string) => Asker | undefined;
}

/** Bytes that the kernel should hold for us while the event loop is busy. It gives less where its own limit is lower. */
const RECEIVE_BUFFER = 4 * 1024 * 1024;

/** Answers on a bound UDP socket until the returned function is called. */
export function serveUdp(socket: Socket, how: UdpHow): () => void {
  let attached = true;
  const onMessage = (message: Buffer, from: RemoteInfo): void => {
    const source = plainAddress(from.address);
    const answer = how.resolve(message, how.askerOf(source), source, "udp");
    if (answer === undefined) return;
    if (Buffer.isBuffer(answer)) send(answer, from);
    else void answer.then((late) => send(late, from));
  };
  const send = (answer: Buffer, to: RemoteInfo): void => {
    if (!attached) return;
    // To a source that cannot be answered (port 0, no route) nothing can be said; the next question is not its affair.
    try {
      socket.send(answer, 0, answer.length, to.port, to.address, ignore);
    } catch {
      // Thrown for port 0, and when the socket was closed under us.
    }
  };
  socket.on("message", onMessage);
  // Stays after detaching: an error without a listener would end the process.
  socket.on("error", ignore);
  try {
    socket.setRecvBufferSize(RECEIVE_BUFFER);
  } catch {
    // A smaller buffer loses more under load and is otherwise as good.
  }
  return () => {
    attached = false;
    socket.off("message", onMessage);
  };
}

function ignore(): void {}
