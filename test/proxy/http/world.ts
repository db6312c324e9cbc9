import { randomBytes } from "node:crypto";
import { onTestFinished } from "vitest";
import { systemClock } from "../../../src/core/clock.ts";
import { createHttpHandler } from "../../../src/proxy/http/handler.ts";
import { world, type World, type WorldOptions } from "../fixture.ts";
import { IAD, LIMITS } from "../values.ts";

/** The whole proxy, with its real `http` handler. */
export async function httpWorld(options: WorldOptions = {}): Promise<World> {
  return world({
    ...options,
    http: (reach, onSettled, view) => {
      const handler = createHttpHandler({
        reach,
        view,
        limits: { ...LIMITS, ...options.limits },
        clock: systemClock,
        random: randomBytes,
        region: IAD,
        signer: undefined,
        onSettled,
        log: { error: () => undefined },
      });
      onTestFinished(() => handler.close());
      return handler;
    },
  });
}
