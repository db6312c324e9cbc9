import { randomBytes } from "node:crypto";
import { eventOf } from "../api/event-of.ts";
import { flySrcKey } from "../api/fly-src-key.ts";
import { Secrets } from "../api/secrets.ts";
import { expandReferences } from "../config/references.ts";
import type { NetworkId } from "../core/ids.ts";
import type { ProcessDriver } from "../machines/drivers/process-driver.ts";
import { createProcessDriver } from "../machines/drivers/process.ts";
import { StateFiles } from "../machines/drivers/state-files.ts";
import { readEnvFile } from "../machines/env-file.ts";
import { machineEnvironment } from "../machines/environment.ts";
import type { Machines } from "../machines/machines.ts";
import { Releases } from "../machines/release.ts";
import { createMachines } from "../machines/supervisors.ts";
import { createFlySrcSigner, type FlySrcSigner } from "../proxy/http/fly-src.ts";
import type { Machine } from "../registry/model.ts";
import type { Base } from "./base.ts";

/** What runs Machines, and what they are told. */
export interface MachineParts {
  readonly driver: ProcessDriver;
  readonly machines: Machines;
  readonly releases: Releases;
  readonly secrets: Secrets;
  readonly signer: FlySrcSigner;
  readonly environmentOf: (machine: Machine) => Promise<Record<string, string>>;
}

/** `dialText`: what a Machine of that network dials to reach an app's port. */
export async function makeMachines(
  base: Base,
  dialText: (app: string, port: number, network: NetworkId) => string | undefined,
): Promise<MachineParts> {
  const { node, standing, plane, registry, clock, log, metrics, emit, ending } = base;
  const { view } = registry;
  const signer = createFlySrcSigner(await flySrcKey(node.stateDir), clock);
  const driver = await createProcessDriver({
    plane,
    stateDir: node.stateDir,
    clock,
    files: standing.mode === "loopback" ? [] : [{ path: "/.fly/fly-src.pub", content: signer.publicKey }],
    outlive: standing.mode === "host",
    log,
    onNotice: (app, message) => emit({ event: "problem", app, code: "unsupported", message }),
  });
  ending.push(() => driver.close());

  const secrets = new Secrets(node.stateDir, clock);
  const environmentOf = async (machine: Machine): Promise<Record<string, string>> =>
    machineEnvironment({
      machine,
      app: view.app(machine.app) ?? { primaryRegion: undefined },
      host: process.env,
      secrets: { ...(await secrets.values(machine.app)), ...(await readEnvFile(machine.config.envFile)) },
      resolve: (value) =>
        expandReferences({ value }, (app, port) => dialText(app, port, machine.network))["value"] ?? value,
    });
  const releases = new Releases({ driver, random: randomBytes, environment: environmentOf, log });
  const lastStates = new StateFiles(node.stateDir, clock);
  ending.push(() => lastStates.close());
  const machines = createMachines({
    registry,
    memory: lastStates,
    driver,
    clock,
    random: Math.random,
    limits: node.limits,
    autostop: node.autostop,
    owns: (machine) => machine.host === registry.host,
    environment: async (machine) => {
      await releases.passed(machine.app);
      return environmentOf(machine);
    },
    onEvent: (event) => {
      metrics.machineEvent(event);
      emit(eventOf(event));
    },
    log,
  });
  return { driver, machines, releases, secrets, signer, environmentOf };
}
