import { createSocket } from "node:dgram";
import { once } from "node:events";
import { connect } from "node:net";
import dnsPacket, { type DecodedPacket, type Packet } from "dns-packet";

/** One datagram there, the first one back. */
export async function askUdp(port: number, message: Uint8Array, host = "127.0.0.1"): Promise<Buffer> {
  const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
  try {
    socket.send(message, port, host);
    const [answer] = (await once(socket, "message")) as [Buffer];
    return answer;
  } finally {
    socket.close();
  }
}

/** Writes `chunks` one by one, and reads `count` framed messages. */
export async function askTcp(port: number, chunks: readonly Uint8Array[], count: number): Promise<Buffer[]> {
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
  socket.setNoDelay(true);
  let received = Buffer.alloc(0);
  const answers: Buffer[] = [];
  const done = new Promise<void>((resolve, reject) => {
    socket.on("error", reject);
    socket.on("close", () => reject(new Error(`closed after ${answers.length} answers`)));
    socket.on("data", (chunk) => {
      received = Buffer.concat([received, chunk]);
      while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
        const end = 2 + received.readUInt16BE(0);
        answers.push(received.subarray(2, end));
        received = received.subarray(end);
      }
      if (answers.length >= count) resolve();
    });
  });
  for (const chunk of chunks) await new Promise<void>((resolve) => socket.write(chunk, () => setImmediate(resolve)));
  try {
    await done;
    return answers;
  } finally {
    socket.destroy();
  }
}

export function framed(message: Uint8Array): Buffer {
  const out = Buffer.alloc(2 + message.length);
  out.writeUInt16BE(message.length, 0);
  out.set(message, 2);
  return out;
}

export const DO_BIT = 0x8000;

export function query(name: string, type: string, extra: Partial<Packet> = {}): Buffer {
  return dnsPacket.encode({
    type: "query",
    id: 4242,
    flags: dnsPacket.RECURSION_DESIRED,
    questions: [{ name, type: type as "AAAA", class: "IN" }],
    ...extra,
  });
}

/** A query with EDNS0. */
export function ednsQuery(
  name: string,
  type: string,
  opt: { size?: number; flags?: number; version?: number } = {},
): Buffer {
  return query(name, type, {
    additionals: [
      {
        name: ".",
        type: "OPT",
        udpPayloadSize: opt.size ?? 4096,
        extendedRcode: 0,
        ednsVersion: opt.version ?? 0,
        flags: opt.flags ?? 0,
        flag_do: false,
        options: [],
      },
    ],
  });
}

export interface Shown {
  readonly id: number | undefined;
  readonly rcode: string;
  readonly aa: boolean;
  readonly tc: boolean;
  readonly answers: readonly string[];
  readonly soa: boolean;
  readonly packet: DecodedPacket;
}

const RCODES = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];

/** A response as the oracle, dns-packet, reads it. */
export function show(message: Buffer): Shown {
  const packet = dnsPacket.decode(message);
  const answers = (packet.answers ?? []).map((record) => {
    const data: unknown = "data" in record ? record.data : undefined;
    if (record.type === "TXT") return [data].flat().map(String).join("");
    return typeof data === "string" ? data : JSON.stringify(data);
  });
  return {
    id: packet.id,
    rcode: RCODES[message.readUInt16BE(2) & 0xf] ?? "other",
    aa: packet.flag_aa,
    tc: packet.flag_tc,
    answers,
    soa: (packet.authorities ?? []).some((record) => record.type === "SOA"),
    packet,
  };
}
