import type { RemoteInfo } from "node:dgram";
import type { Socket } from "node:net";
import dnsPacket, { type Answer, type DecodedPacket, type Packet } from "dns-packet";
import { framed } from "./ask.ts";
import { bindPair, cleanUp } from "./support.ts";

export interface Received {
  readonly transport: "udp" | "tcp";
  readonly packet: DecodedPacket;
  readonly name: string;
  readonly type: string;
  /** Port that the question came from. */
  readonly from: number;
  /** Sends a response with the question's id and question. */
  answer(answers?: Answer[], extra?: Partial<Packet> & { rcode?: number }): void;
  /** Sends any bytes. */
  send(bytes: Uint8Array): void;
}

export interface FakeUpstream {
  readonly port: number;
  readonly address: string;
  readonly received: Received[];
  /** What is done with each question. Nothing: silence. */
  on: (question: Received) => void;
  /** Resolves when `count` questions have come in all. */
  count(count: number): Promise<void>;
}

/** A resolver that a test leads by the hand: real sockets, UDP and TCP on one port. */
export async function fakeUpstream(on: (question: Received) => void = () => {}): Promise<FakeUpstream> {
  const { udp, tcp, port } = await bindPair();
  const waiting: { count: number; resolve: () => void }[] = [];
  const upstream: FakeUpstream = {
    port,
    address: `127.0.0.1:${port}`,
    received: [],
    on,
    count: (count) =>
      new Promise((resolve) => {
        waiting.push({ count, resolve });
        check();
      }),
  };
  const check = (): void => {
    for (const entry of waiting) if (upstream.received.length >= entry.count) entry.resolve();
  };
  const take = (message: Buffer, transport: "udp" | "tcp", from: number, send: (bytes: Uint8Array) => void): void => {
    const packet = dnsPacket.decode(message);
    const question = packet.questions?.[0];
    const received: Received = {
      transport,
      packet,
      name: question?.name ?? "",
      type: question?.type ?? "",
      from,
      send,
      answer: (answers = [], { rcode = 0, ...extra } = {}) => {
        const bytes = dnsPacket.encode({
          type: "response",
          id: packet.id ?? 0,
          flags: dnsPacket.RECURSION_AVAILABLE,
          questions: packet.questions ?? [],
          answers,
          ...extra,
        });
        bytes.writeUInt8((bytes.readUInt8(3) & 0xf0) | rcode, 3);
        send(bytes);
      },
    };
    upstream.received.push(received);
    upstream.on(received);
    check();
  };
  udp.on("message", (message: Buffer, info: RemoteInfo) => {
    take(message, "udp", info.port, (bytes) => udp.send(bytes, info.port, info.address));
  });
  const open = new Set<Socket>();
  tcp.on("connection", (socket: Socket) => {
    open.add(socket);
    socket.on("error", () => socket.destroy());
    let buffered: Buffer = Buffer.alloc(0);
    socket.on("data", (chunk: Buffer) => {
      buffered = Buffer.concat([buffered, chunk]);
      if (buffered.length < 2 || buffered.length < 2 + buffered.readUInt16BE(0)) return;
      take(buffered.subarray(2), "tcp", socket.remotePort ?? 0, (bytes) => socket.write(framed(bytes)));
    });
  });
  cleanUp(() => {
    for (const socket of open) socket.destroy();
  });
  return upstream;
}

/** An A record. */
export function a(name: string, data: string, ttl = 300): Answer {
  return { name, type: "A", class: "IN", ttl, data };
}
