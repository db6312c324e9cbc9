import type { Socket } from "node:net";
import type { Clock } from "../../core/clock.ts";
import type { Milliseconds } from "../../core/units.ts";
import { CANNOT_CONNECT_NOW, sqlStateOf, startupMessage } from "./messages.ts";

const LONGEST_ANSWER = 16 * 1024;

/**
 * Asks a server whether it takes connections, as `pg_isready` does: 57P03 means "not yet", and so does silence or an end;
 * every other answer (a password request, another error) means that it works. In clear text, whatever the client speaks.
 * Uses up the connection.
 */
export function isReady(
  socket: Socket,
  who: { readonly user: string; readonly database: string },
  clock: Clock,
  timeout: Milliseconds,
): Promise<boolean> {
  return new Promise((resolve) => {
    let answer = Buffer.alloc(0);
    const finish = (ready: boolean): void => {
      timer.cancel();
      socket.destroy();
      resolve(ready);
    };
    const timer = clock.after(timeout, () => finish(false));
    socket.on("data", (chunk: Buffer) => {
      answer = Buffer.concat([answer, chunk]);
      const verdict = verdictOf(answer);
      if (verdict !== undefined) finish(verdict);
    });
    socket.on("end", () => finish(false));
    socket.on("close", () => finish(false));
    socket.write(startupMessage(who.user, who.database));
    socket.resume();
  });
}

function verdictOf(answer: Buffer): boolean | undefined {
  if (answer.length < 5) return undefined;
  if (answer[0] !== 0x45) return true; // not an ErrorResponse
  const length = answer.readUInt32BE(1);
  if (length > LONGEST_ANSWER) return true;
  if (answer.length < 1 + length) return undefined;
  return sqlStateOf(answer.subarray(5, 1 + length)) !== CANNOT_CONNECT_NOW;
}
