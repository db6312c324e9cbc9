import type { Socket } from "node:net";
import { AppError } from "../core/errors.ts";
import { DepartureController, type Departure } from "./departure.ts";

/** What a client sent while it waited. */
export interface Held {
  readonly chunks: readonly Buffer[];
  /** It has closed its direction: a half-close, which goes on to the Machine. */
  readonly ended: boolean;
}

/**
 * Reads a waiting connection into a bounded buffer. Reading is the only way to learn that a client has gone: a paused
 * socket reports neither FIN nor RST. A client that sent more than the buffer takes is paused, and then its leaving is
 * noticed when we next write to it.
 */
export class Hold {
  readonly #socket: Socket;
  readonly #limit: number;
  readonly #gone = new DepartureController();
  readonly #chunks: Buffer[] = [];
  #size = 0;
  #ended = false;

  constructor(socket: Socket, limit: number, already?: Buffer) {
    this.#socket = socket;
    this.#limit = limit;
    if (already !== undefined && already.length > 0) this.#onData(already);
    socket.on("data", this.#onData);
    socket.on("end", this.#onEnd);
    socket.on("error", this.#onError);
    socket.on("close", this.#onClose);
    // "end" and "close" are not sent again for those who come late.
    if (socket.destroyed) this.#onClose();
    else if (socket.readableEnded) this.#ended = true;
    // Whoever had it before may have paused it.
    else if (this.#size < limit) socket.resume();
  }

  /** Aborted, with an AppError as its reason, when the client is gone. A half-close is not gone. */
  get signal(): Departure {
    return this.#gone;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Stops holding. The socket is paused; whoever takes it over listens and resumes. */
  take(): Held {
    this.#socket.off("data", this.#onData);
    this.#socket.off("end", this.#onEnd);
    this.#socket.off("error", this.#onError);
    this.#socket.off("close", this.#onClose);
    this.#socket.pause();
    return { chunks: this.#chunks, ended: this.#ended };
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#chunks.push(chunk);
    this.#size += chunk.length;
    if (this.#size >= this.#limit) this.#socket.pause();
  };

  readonly #onEnd = (): void => {
    this.#ended = true;
  };

  readonly #onError = (cause: Error): void => {
    this.#gone.abort(new AppError("FP16", undefined, { cause }));
  };

  readonly #onClose = (): void => {
    if (!this.#gone.aborted) this.#gone.abort(new AppError("FP10"));
  };
}
