import { KeptListeners, isRawSocket, sendSocket } from "../network/linux/kept-listeners.ts";
import { isKeeperMessage, KEEPER_ENV, type FromKeeper, type FromServing } from "./keeper-protocol.ts";

/** The serving process's end of the channel to the one that keeps its listeners. */
export interface KeeperLink {
  readonly kept: KeptListeners;
  /** Asks for a successor, should this process end unasked. */
  stay(): void;
  /** To be told that a successor waits for this process to end. */
  onLeave(listener: () => void): void;
  /** Lets this process end. */
  close(): void;
}

/** Undefined in a process that nobody keeps listeners for. When the keeper is gone, this process ends at once, with code 3. */
export async function connectKeeper(): Promise<KeeperLink | undefined> {
  if (process.env[KEEPER_ENV] !== "1" || process.send === undefined) return undefined;
  // Nobody else's affair: no Machine shall have it.
  delete process.env[KEEPER_ENV];
  const channel = process as Required<typeof process>;
  const tell = (message: FromServing): void => void (channel.connected && channel.send(message));
  const kept = new KeptListeners(
    (name, socket) => sendSocket(channel, { keeper: "keep", name } satisfies FromServing, socket),
    (name) => tell({ keeper: "release", name }),
  );
  const lost = (): never => process.exit(3);
  process.once("disconnect", lost);
  // It may be asked before it serves.
  let asked = false;
  let leave: () => void = () => undefined;
  // From the first moment: by itself, SIGHUP would end the process.
  process.on("SIGHUP", () => undefined);

  await new Promise<void>((resolve) => {
    process.on("message", (raw: unknown, handle: unknown) => {
      if (!isKeeperMessage(raw)) return;
      const message = raw as FromKeeper;
      switch (message.keeper) {
        case "kept":
          if (isRawSocket(handle)) kept.adopt(message.name, handle);
          return;
        case "all":
          resolve();
          return;
        case "leave":
          asked = true;
          leave();
      }
    });
    tell({ keeper: "hello" });
  });
  return {
    kept,
    stay: () => tell({ keeper: "stay" }),
    onLeave(listener) {
      leave = listener;
      if (asked) leave();
    },
    close() {
      process.off("disconnect", lost);
      process.removeAllListeners("message");
      if (process.connected) process.disconnect();
    },
  };
}
