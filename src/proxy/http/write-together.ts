import type { Socket } from "node:net";

/** Up to this size head and body leave as one Latin-1 string: libuv writes it from the stack. */
const ONE_WRITE = 16 * 1024;

/** Writes a head and what there is of its body in one system call. Returns false when it is time to pause. */
export function writeTogether(socket: Socket, head: string, body: Buffer | undefined): boolean {
  if (body === undefined || body.length === 0) return socket.write(head, "latin1");
  if (head.length + body.length <= ONE_WRITE) return socket.write(head + body.toString("latin1"), "latin1");
  socket.cork();
  socket.write(head, "latin1");
  const flowing = socket.write(body);
  socket.uncork();
  return flowing;
}
