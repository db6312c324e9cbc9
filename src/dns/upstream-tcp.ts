import type { Socket } from "node:net";
import type { Outside } from "../network/outside.ts";
import type { Upstream } from "./upstream.ts";

/**
 * One question over a TCP connection of its own (RFC 7766). Resolves with the first message that comes back, or rejects
 * when there is none. Aborting `signal` ends it. The caller bounds the time.
 */
export async function askOverTcp(
  outside: Pick<Outside, "dial">,
  upstream: Pick<Upstream, "host" | "port">,
  message: Buffer,
  signal: AbortSignal,
): Promise<Buffer> {
  const socket = await outside.dial(upstream.host, upstream.port);
  try {
    return await exchange(socket, message, signal);
  } finally {
    socket.destroy();
  }
}

function exchange(socket: Socket, message: Buffer, signal: AbortSignal): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let received: Buffer = Buffer.alloc(0);
    const fail = (): void => reject(new Error("the upstream ended the connection without an answer"));
    socket.on("error", reject);
    socket.on("close", fail);
    socket.on("end", fail);
    signal.addEventListener("abort", fail, { once: true });
    if (signal.aborted) {
      fail();
      return;
    }
    socket.on("data", (chunk: Buffer) => {
      received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
      if (received.length < 2) return;
      const end = 2 + received.readUInt16BE(0);
      if (received.length >= end) resolve(received.subarray(2, end));
    });
    // Length and message in one write: one segment, and no reader is left with half.
    const framed = Buffer.allocUnsafe(2 + message.length);
    framed.writeUInt16BE(message.length, 0);
    message.copy(framed, 2);
    socket.write(framed);
  });
}
