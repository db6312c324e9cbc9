import { connect, type Socket } from "node:net";
import type { Clock } from "../core/clock.ts";
import { AppError, type ErrorCode } from "../core/errors.ts";
import { ms, type Milliseconds } from "../core/units.ts";
import type { DialAddress } from "../network/plane.ts";
import type { Budget } from "./budget.ts";

export interface DialOptions {
  readonly clock: Clock;
  readonly budget: Budget;
  readonly timeout: Milliseconds;
}

const KEEPALIVE_MS = 60_000;
const LONGEST_PAUSE_MS = 50;

/**
 * One connection to a Machine: the addresses in order, the next one when the kernel says "refused" or "no way there".
 * Gives the socket, paused, and the index of the address that answered. Rejects with the error of the last address.
 * @errors PC01 refused, PC03 reset, PC05 timed out, PC06 anything else, FP03 no descriptors
 */
export async function dial(
  addresses: readonly DialAddress[],
  first: number,
  options: DialOptions,
): Promise<{ readonly socket: Socket; readonly index: number }> {
  let failure: AppError | undefined;
  for (let i = 0; i < addresses.length; i++) {
    const index = (first + i) % addresses.length;
    const address = addresses[index];
    if (address === undefined) continue;
    try {
      return { socket: await dialPatiently(address, options), index };
    } catch (thrown) {
      if (!(thrown instanceof AppError)) throw thrown;
      // A timeout is not repeated elsewhere: both addresses are the same Machine.
      if (thrown.code !== "PC01" && thrown.code !== "PC06") throw thrown;
      failure = thrown;
    }
  }
  throw failure ?? new AppError("PC06", "the Machine has no address");
}

/**
 * Every local port towards that address may be in TIME_WAIT for a moment: that is ours to wait for, and nobody's error.
 */
async function dialPatiently(address: DialAddress, options: DialOptions): Promise<Socket> {
  const deadline = options.clock.now() + options.timeout;
  for (let pause = 1; ; pause = Math.min(LONGEST_PAUSE_MS, pause * 2)) {
    const outcome = await dialOnce(address, options);
    if (!("cause" in outcome)) return outcome.socket;
    if (outcome.cause.code !== "EADDRNOTAVAIL" || options.clock.now() + pause > deadline)
      throw toAppError(address, outcome.cause);
    await new Promise<void>((resolve) => options.clock.after(ms(pause), resolve));
  }
}

function dialOnce(
  address: DialAddress,
  { clock, budget, timeout }: DialOptions,
): Promise<{ readonly socket: Socket } | { readonly cause: NodeJS.ErrnoException }> {
  const room = budget.openUpstream();
  if (!room.ok) return Promise.resolve({ cause: Object.assign(new Error("no descriptors"), { code: "EMFILE" }) });
  return new Promise((resolve) => {
    const socket = connect({
      host: address.host,
      port: address.port,
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEPALIVE_MS,
    });
    socket.once("close", room.value);
    const timer = clock.after(timeout, () => {
      socket.destroy(Object.assign(new Error("timed out"), { code: "ETIMEDOUT" }));
    });
    const onError = (cause: NodeJS.ErrnoException): void => {
      timer.cancel();
      resolve({ cause });
    };
    // It stays: an error between two owners must not become an uncaught exception. Resolving again does nothing.
    socket.on("error", onError);
    socket.once("connect", () => {
      timer.cancel();
      socket.pause();
      resolve({ socket });
    });
  });
}

function toAppError(address: DialAddress, cause: NodeJS.ErrnoException): AppError {
  return new AppError(codeOf(cause), undefined, { cause, details: { dialled: `${address.host} ${address.port}` } });
}

function codeOf(cause: NodeJS.ErrnoException): ErrorCode {
  switch (cause.code) {
    case "ECONNREFUSED":
      return "PC01";
    case "ECONNRESET":
      return "PC03";
    case "ETIMEDOUT":
      return "PC05";
    case "EMFILE":
    case "ENFILE":
      return "FP03";
    default:
      return "PC06";
  }
}
