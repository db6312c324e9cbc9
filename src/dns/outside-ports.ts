import type { NetworkId } from "../core/ids.ts";
import { AppError } from "../core/errors.ts";
import type { Outside } from "../network/outside.ts";
import type { DnsService } from "./server.ts";

/** A port of the computer, UDP and TCP, that answers as a client of one network would be answered. */
export interface OutsidePort {
  readonly port: number;
  /** `127.0.0.1:PORT`. */
  readonly text: string;
}

const HOST = "127.0.0.1";
/** UDP and TCP have ports of their own: a free one of the first is usually, not always, free of the second. */
const TRIES = 20;

/** One loopback port for each network that somebody asked about; kept until the end. */
export class OutsidePorts {
  readonly #outside: Outside;
  readonly #dns: DnsService;
  readonly #open = new Map<NetworkId, Promise<OutsidePort>>();
  readonly #closing: (() => void)[] = [];

  constructor(outside: Outside, dns: DnsService) {
    this.#outside = outside;
    this.#dns = dns;
  }

  /** @errors port_taken */
  open(network: NetworkId): Promise<OutsidePort> {
    const known = this.#open.get(network);
    if (known !== undefined) return known;
    const opening = this.#bind(network);
    this.#open.set(network, opening);
    opening.catch(() => this.#open.delete(network));
    return opening;
  }

  close(): void {
    for (const close of this.#closing.splice(0)) close();
    this.#open.clear();
  }

  async #bind(network: NetworkId): Promise<OutsidePort> {
    let last: unknown;
    for (let tries = 0; tries < TRIES; tries++) {
      const udp = await this.#outside.bindUdp(HOST, 0);
      const { port } = udp.address();
      try {
        const tcp = await this.#outside.listen(HOST, port);
        this.#dns.attachUdp(udp, { network });
        this.#dns.attachTcp(tcp, { network });
        this.#closing.push(
          () => udp.close(),
          () => tcp.close(),
        );
        return { port, text: `${HOST}:${port}` };
      } catch (error) {
        last = error;
        udp.close();
      }
    }
    throw new AppError("port_taken", `no port of ${HOST} is free for DNS`, { cause: last });
  }
}
