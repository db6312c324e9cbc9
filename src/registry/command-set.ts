import * as access from "./check-access.ts";
import * as check from "./check-commands.ts";
import * as machines from "./check-machines.ts";
import type { Catalogue } from "./catalogue.ts";
import type { Commands } from "./commands.ts";
import type { Decision, Draws } from "./decision.ts";

/**
 * Decides on the newest state, makes the events durable, publishes them and answers. The one thing that stores do
 * differently. `decide` may be called again when another node was faster.
 */
export type Run = <T>(decide: (state: Catalogue, draws: Draws) => Decision<T>) => Promise<T>;

/** The commands, over a store's way to run them. */
export function createCommands(run: Run): Commands {
  return {
    createOrganisation: (input) => run((state, draws) => check.createOrganisation(state, input, draws)),
    updateOrganisation: (slug, change) => run((state) => check.updateOrganisation(state, slug, change)),
    ensureNetwork: (org, name) => run((state, draws) => check.ensureNetwork(state, org, name, draws)),
    createApp: (input) => run((state, draws) => check.createApp(state, input, draws)),
    updateApp: (name, change) => run((state) => check.updateApp(state, name, change)),
    destroyApp: (name) => run((state) => check.destroyApp(state, name)),
    allocateAddress: (app, network) => run((state, draws) => check.allocateAddress(state, app, network, draws)),
    releaseAddress: (app, address) => run((state) => check.releaseAddress(state, app, address)),
    createMachine: (input) => run((state, draws) => machines.createMachine(state, input, draws)),
    updateMachine: (id, change) => run((state, draws) => machines.updateMachine(state, id, change, draws)),
    removeMachine: (id) => run((state) => machines.removeMachine(state, id)),
    createPeer: (input) => run((state, draws) => access.createPeer(state, input, draws)),
    removePeer: (network, name) => run((state) => access.removePeer(state, network, name)),
    createToken: (input) => run((state, draws) => access.createToken(state, input, draws)),
    revokeToken: (id) => run((state) => access.revokeToken(state, id)),
  };
}
