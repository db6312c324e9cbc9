import type { Socket } from "node:net";
import type { Clock } from "../core/clock.ts";
import { AppError, toAppError, type ErrorCode } from "../core/errors.ts";
import type { Milliseconds } from "../core/units.ts";

export interface Preface<T> {
  readonly value: T;
  /** What the client sent after it. */
  readonly rest: Buffer;
}

interface PrefaceOptions<T> {
  /** Gives what it found and its length, undefined while more bytes are needed, or throws an AppError. */
  readonly parse: (bytes: Buffer) => { readonly value: T; readonly length: number } | undefined;
  readonly clock: Clock;
  readonly timeout: Milliseconds;
  /** More bytes than this without a result are refused. */
  readonly longest: number;
  /** For too slow, too long, and ended too early. */
  readonly code: ErrorCode;
}

/**
 * Reads what a client must say before anything else can happen: a PROXY header, the beginning of a Postgres session.
 * Bounded in time and size; a client that ends or resets first is gone. Leaves the socket paused, without listeners.
 */
export function readPreface<T>(
  socket: Socket,
  already: Buffer | undefined,
  options: PrefaceOptions<T>,
): Promise<Preface<T>> {
  return new Promise((resolve, reject) => {
    let bytes = already ?? Buffer.alloc(0);
    const timer = options.clock.after(options.timeout, () =>
      fail(new AppError(options.code, "the client did not finish its beginning in time")),
    );
    const stop = (): void => {
      timer.cancel();
      socket.off("data", onData);
      socket.off("end", onEnd);
      socket.off("error", onError);
      socket.off("close", onClose);
      socket.pause();
    };
    const fail = (error: AppError): void => {
      stop();
      reject(error);
    };
    const onData = (chunk: Buffer): void => {
      bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
      look();
    };
    const look = (): void => {
      try {
        const parsed = options.parse(bytes);
        if (parsed !== undefined) {
          stop();
          resolve({ value: parsed.value, rest: bytes.subarray(parsed.length) });
        } else if (bytes.length >= options.longest) {
          fail(new AppError(options.code, "the client's beginning is too long"));
        }
      } catch (thrown) {
        fail(toAppError(thrown, "FP15"));
      }
    };
    const onEnd = (): void => fail(new AppError("FP10"));
    const onError = (cause: Error): void => fail(new AppError("FP16", undefined, { cause }));
    const onClose = (): void => fail(new AppError("FP10"));
    socket.on("data", onData);
    socket.on("end", onEnd);
    socket.on("error", onError);
    socket.on("close", onClose);
    // "end" and "close" are not sent again for those who come late.
    if (socket.destroyed) return onClose();
    if (socket.readableEnded && bytes.length === 0) return onEnd();
    socket.resume();
    if (bytes.length > 0) look();
  });
}
