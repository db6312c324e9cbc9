import type { Clock } from "../../core/clock.ts";
import { AppError } from "../../core/errors.ts";
import { DEFAULT_NETWORK, PERSONAL_ORG, type HostId } from "../../core/ids.ts";
import type { Catalogue } from "../catalogue.ts";
import { Feed } from "../change-feed.ts";
import { CommandQueue, type RecordLog } from "../command-queue.ts";
import { createCommands } from "../command-set.ts";
import type { Registry } from "../commands.ts";
import { UlidSource } from "../ulid.ts";

/** A registry that knows on which host it makes Machines. */
export interface HostRegistry extends Registry {
  readonly host: HostId;
}

/** What all stores have in common: a catalogue in memory, a queue of commands before a log, a feed behind it. */
export async function createCatalogueRegistry(options: {
  readonly catalogue: Catalogue;
  readonly seq: number;
  readonly host: HostId;
  readonly clock: Clock;
  readonly random: (bytes: number) => Uint8Array;
  readonly onNotice: (message: string) => void;
  /** Makes the log; it may keep the queue, to publish through it what others write. */
  readonly log: (queue: () => CommandQueue) => RecordLog;
  /** Ends the store, after the last command. */
  readonly close: () => Promise<void>;
}): Promise<HostRegistry> {
  const { catalogue, clock, host, random } = options;
  const feed = new Feed(options.onNotice);
  const ulids = new UlidSource(random);
  const draws = {
    get now() {
      return clock.wall();
    },
    host,
    random,
    ulid: () => ulids.next(clock.wall()),
  };
  const log = options.log(() => queue);
  const queue: CommandQueue = new CommandQueue({ published: catalogue, seq: options.seq, feed, draws, log });
  const commands = createCommands(queue.run);
  await ensureHome(catalogue, commands);
  let closing: Promise<void> | undefined;
  return {
    host,
    view: catalogue,
    commands,
    changes: feed,
    setStatus: (id, status) => {
      const machine = catalogue.machine(id);
      if (machine !== undefined && catalogue.setStatus(id, status)) {
        feed.send({ kind: "status", id, app: machine.app, status });
      }
    },
    close: () => {
      closing ??= queue.close().then(options.close);
      return closing;
    },
  };
}

/** `personal` with its network `default` always exists. */
async function ensureHome(catalogue: Catalogue, commands: Registry["commands"]): Promise<void> {
  if (catalogue.organisation(PERSONAL_ORG) === undefined) {
    await commands.createOrganisation({ slug: PERSONAL_ORG }).catch((thrown: unknown) => {
      // Another node of the same registry was faster.
      if (!(thrown instanceof AppError && thrown.code === "name_taken")) throw thrown;
    });
  }
  if (catalogue.networkNamed(PERSONAL_ORG, DEFAULT_NETWORK) === undefined) {
    await commands.ensureNetwork(PERSONAL_ORG, DEFAULT_NETWORK);
  }
}
