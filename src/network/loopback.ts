import { createServer } from "node:net";
import { once } from "node:events";
import type { MachineId, NetworkId } from "../core/ids.ts";
import { AppError } from "../core/errors.ts";
import type { ClientPlace, NetworkPlane, Place, PlaceRequest } from "./plane.ts";

export interface LoopbackPlaneOptions {
  /** Ports to choose from, for tests. @default 20000 to 28671, below the kernel's own choice for outgoing connections */
  readonly ports?: { readonly from: number; readonly to: number };
  /** Uniform in [0, 1). Two nodes that start at once should not try the same ports. @default Math.random */
  readonly random?: () => number;
}

const HOST = "127.0.0.1";
/** Ports that are tried before we give up: far more than any computer has taken in a row. */
const TRIES = 2000;

/** No namespaces: Machines share the computer's network, each on ports of its own. Any system, no privilege, no isolation. */
export function createLoopbackPlane(options: LoopbackPlaneOptions = {}): NetworkPlane {
  return new LoopbackPlane(options);
}

class LoopbackPlane implements NetworkPlane {
  readonly mode = "loopback";
  readonly #from: number;
  readonly #count: number;
  #next: number;
  readonly #taken = new Set<number>();
  readonly #places = new Map<MachineId, Promise<LoopbackPlace>>();

  constructor(options: LoopbackPlaneOptions) {
    // The kernel picks ports of outgoing connections from 32768 (Linux) or 49152 (others) up: a Machine's port that lay
    // there could be in use by a stranger at the moment when the Machine wakes.
    const { from, to } = options.ports ?? { from: 20_000, to: 28_671 };
    this.#from = from;
    this.#count = to - from + 1;
    this.#next = Math.floor((options.random ?? Math.random)() * this.#count);
  }

  async addNetwork(): Promise<void> {}
  async removeNetwork(): Promise<void> {}

  /** Asked for before each start. The ports are those of last time, but for one that a stranger has taken meanwhile. */
  place(machine: PlaceRequest): Promise<Place> {
    const before = this.#places.get(machine.id) ?? Promise.resolve(undefined);
    const placing = before.catch(() => undefined).then((place) => this.#choose(machine, place?.ports ?? new Map()));
    this.#places.set(machine.id, placing);
    placing.catch(() => {
      if (this.#places.get(machine.id) === placing) this.#places.delete(machine.id);
    });
    return placing;
  }

  async #choose(machine: PlaceRequest, before: ReadonlyMap<number, number>): Promise<LoopbackPlace> {
    const ports = new Map<number, number>();
    for (const internal of wantedPorts(machine)) {
      const last = before.get(internal);
      ports.set(internal, last !== undefined && (await isFree(last)) ? last : await this.#freePort());
    }
    const given = new Set(ports.values());
    for (const port of before.values()) if (!given.has(port)) this.#taken.delete(port);
    return new LoopbackPlace(ports);
  }

  async #freePort(): Promise<number> {
    for (let tries = 0; tries < Math.min(TRIES, this.#count); tries++) {
      const port = this.#from + (this.#next++ % this.#count);
      if (this.#taken.has(port)) continue;
      this.#taken.add(port);
      if (await isFree(port)) return port;
      this.#taken.delete(port);
    }
    throw new AppError(
      "exhausted",
      `no port of ${HOST} between ${this.#from} and ${this.#from + this.#count - 1} is free`,
    );
  }

  async unplace(id: MachineId): Promise<void> {
    const place = await this.#places.get(id)?.catch(() => undefined);
    this.#places.delete(id);
    for (const port of place?.ports.values() ?? []) this.#taken.delete(port);
  }

  listenPrivate(): undefined {
    return undefined;
  }

  async onServiceDoor(): Promise<void> {}

  clientNetwork(): undefined {
    return undefined;
  }

  async refused(): Promise<Readonly<Record<string, number>>> {
    return {};
  }

  async client(_network: NetworkId): Promise<ClientPlace> {
    return { address: undefined, enter: [], owner: undefined, release: () => undefined };
  }

  async close(): Promise<void> {
    this.#places.clear();
    this.#taken.clear();
  }
}

class LoopbackPlace implements Place {
  readonly ports: ReadonlyMap<number, number>;
  readonly env: Readonly<Record<string, string>>;

  constructor(ports: ReadonlyMap<number, number>) {
    this.ports = ports;
    const env: Record<string, string> = { HOST };
    let first = true;
    for (const [internal, port] of ports) {
      if (first) env["PORT"] = String(port);
      // Internal port 0 stands for a Machine without services, which only gets a PORT.
      if (internal !== 0) env[`PORT_${internal}`] = String(port);
      first = false;
    }
    this.env = env;
  }

  enter(): readonly string[] {
    return [];
  }

  dial(port: number): readonly { readonly host: string; readonly port: number }[] {
    const own = this.ports.get(port);
    return own === undefined ? [] : [{ host: HOST, port: own }];
  }

  members(): undefined {
    return undefined;
  }
}

/** A Machine without services gets a PORT as well: many programs insist on listening somewhere. */
function wantedPorts(machine: PlaceRequest): readonly number[] {
  return machine.ports.length === 0 ? [0] : [...new Set(machine.ports)];
}

/** Free on all interfaces, not only on ours: a Machine that ignores HOST binds the wildcard. */
async function isFree(port: number): Promise<boolean> {
  for (const host of [HOST, "0.0.0.0"]) {
    const server = createServer();
    try {
      server.listen({ host, port, exclusive: true });
      await once(server, "listening");
    } catch {
      return false;
    } finally {
      server.close();
    }
  }
  return true;
}
