import type {
  AppName,
  HostId,
  Ip6,
  MachineId,
  NetworkId,
  NetworkName,
  OrgSlug,
  RegionCode,
} from "../../src/core/ids.ts";
import type { WallTime } from "../../src/core/units.ts";
import { flycastAddress, machineAddress, peerAddress } from "../../src/network/address.ts";
import { Catalogue } from "../../src/registry/catalogue.ts";
import { NEVER_STARTED, type MachineStateKind } from "../../src/registry/model.ts";
import { PLAIN_CONFIG } from "../support/plain-values.ts";

export const HOME = 0x8000_0018 as NetworkId;
export const OTHER = 0x8000_0019 as NetworkId;
export const IAD = "iad" as RegionCode;

const PERSONAL = "personal" as OrgSlug;
const NEVER = 0 as WallTime;
const HOST = 0x00a7_007d as HostId;

/** A catalogue in a few words: two networks, and whatever a test puts on them. */
export class Landscape {
  readonly view = new Catalogue();
  readonly #networkOf = new Map<string, NetworkId>();
  #machines = 0;
  #peers = 0;

  constructor() {
    this.view.apply({
      kind: "organisation",
      value: { slug: PERSONAL, name: "personal", number: 1, user: undefined, createdAt: NEVER },
    });
    for (const [id, name] of [
      [HOME, "default"],
      [OTHER, "other"],
    ] as const) {
      this.view.apply({ kind: "network", value: { id, org: PERSONAL, name: name as NetworkName, createdAt: NEVER } });
    }
  }

  app(name: string, network: NetworkId = HOME): this {
    this.#networkOf.set(name, network);
    this.view.apply({
      kind: "app",
      value: {
        name: name as AppName,
        number: this.#networkOf.size,
        org: PERSONAL,
        network,
        primaryRegion: undefined,
        protocol: "auto",
        idleSessions: "keep",
        tls: undefined,
        createdAt: NEVER,
      },
    });
    return this;
  }

  /** A Machine of an app that exists; its address. Started, unless told otherwise. */
  machine(
    app: string,
    id: string,
    how: {
      region?: string;
      state?: MachineStateKind;
      group?: string;
      metadata?: Record<string, string>;
      skipDns?: boolean;
    } = {},
  ): Ip6 {
    const network = this.#networkOf.get(app)!;
    const address = machineAddress(network, HOST, ++this.#machines);
    this.view.apply({
      kind: "machine",
      value: {
        id: id as MachineId,
        name: id,
        app: app as AppName,
        network,
        region: (how.region ?? "iad") as RegionCode,
        host: HOST,
        address,
        config: {
          ...PLAIN_CONFIG,
          metadata: how.metadata ?? {},
          processGroup: how.group ?? "app",
          skipDns: how.skipDns ?? false,
        },
        instance: "01",
        version: 1,
        cordoned: false,
        createdAt: NEVER,
        updatedAt: NEVER,
      },
    });
    this.state(id, how.state ?? "started");
    return address;
  }

  state(id: string, state: MachineStateKind): void {
    this.view.setStatus(id as MachineId, { ...NEVER_STARTED, state });
  }

  flycast(app: string, network: NetworkId, number: number): Ip6 {
    const address = flycastAddress(network, number);
    this.view.apply({ kind: "address", value: { address, app: app as AppName, network, createdAt: NEVER } });
    return address;
  }

  peer(name: string, network: NetworkId = HOME): Ip6 {
    const address = peerAddress(network, 1, ++this.#peers);
    const value = { name, org: PERSONAL, network, region: IAD, address, publicKey: "", createdAt: NEVER };
    this.view.apply({ kind: "peer", value });
    return address;
  }
}

/** The nth id of a Machine: 14 hex digits. */
export function machineId(n: number): string {
  return n.toString(16).padStart(14, "0");
}
