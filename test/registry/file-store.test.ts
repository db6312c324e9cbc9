import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/core/clock.ts";
import { openFileRegistry } from "../../src/registry/stores/file.ts";
import { describeStore } from "./store.contract.ts";

function harness(snapshotAfter: number | undefined) {
  return async () => {
    const dir = await mkdtemp(join(tmpdir(), "flycast-test-"));
    return {
      open: () =>
        openFileRegistry({
          dir,
          clock: systemClock,
          random: (n) => randomBytes(n),
          onNotice: () => undefined,
          ...(snapshotAfter === undefined ? {} : { snapshotAfter }),
        }),
      destroy: () => rm(dir, { recursive: true, force: true }),
    };
  };
}

describeStore("the file store", harness(undefined));
describeStore("the file store with a snapshot at every turn", harness(1));
