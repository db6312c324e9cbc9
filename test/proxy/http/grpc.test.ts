import { once } from "node:events";
import {
  type Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientUnaryCall,
  type ClientWritableStream,
  credentials,
  type handleBidiStreamingCall,
  type handleClientStreamingCall,
  type handleServerStreamingCall,
  type handleUnaryCall,
  makeGenericClientConstructor,
  Metadata,
  Server,
  ServerCredentials,
  type ServiceDefinition,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { eventually, type Front, startFront } from "./harness.ts";

const bytes = (value: Buffer): Buffer => value;
const method = (name: string, requestStream: boolean, responseStream: boolean) => ({
  path: `/test.Echo/${name}`,
  requestStream,
  responseStream,
  requestSerialize: bytes,
  requestDeserialize: bytes,
  responseSerialize: bytes,
  responseDeserialize: bytes,
});
const SERVICE: ServiceDefinition = {
  unary: method("Unary", false, false),
  refuse: method("Refuse", false, false),
  never: method("Never", false, false),
  split: method("Split", false, true),
  join: method("Join", true, false),
  echo: method("Echo", true, true),
};

/** What became of the calls of `never`, as the server sees it. */
const cancelled: string[] = [];
const never: handleUnaryCall<Buffer, Buffer> = (call) => {
  call.on("cancelled", () => cancelled.push(call.request.toString()));
};
const unary: handleUnaryCall<Buffer, Buffer> = (call, answer) => {
  const trailer = new Metadata();
  trailer.set("x-sum-bin", Buffer.from([0, 255, 7]));
  call.sendMetadata(metadataOf({ "x-seen": call.metadata.get("fly-client-ip").join() }));
  answer(null, call.request, trailer);
};
const refuse: handleUnaryCall<Buffer, Buffer> = (_call, answer) => {
  answer({ code: status.FAILED_PRECONDITION, details: "nö 100 %", metadata: metadataOf({ "x-why": "because" }) });
};
const split: handleServerStreamingCall<Buffer, Buffer> = (call) => {
  for (const byte of call.request) call.write(Buffer.alloc(50_000, byte));
  call.end(metadataOf({ "x-count": String(call.request.length) }));
};
const join: handleClientStreamingCall<Buffer, Buffer> = (call, answer) => {
  const parts: Buffer[] = [];
  call.on("data", (part: Buffer) => parts.push(part));
  call.on("end", () => answer(null, Buffer.concat(parts)));
};
const echo: handleBidiStreamingCall<Buffer, Buffer> = (call) => {
  call.on("data", (part: Buffer) => call.write(part));
  call.on("end", () => call.end());
};

function metadataOf(values: Readonly<Record<string, string>>): Metadata {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(values)) metadata.set(name, value);
  return metadata;
}

interface EchoClient extends Client {
  unary: Call;
  refuse: Call;
  never: Call;
  split(request: Buffer): ClientReadableStream<Buffer>;
  join(answer: (error: ServiceError | null, value?: Buffer) => void): ClientWritableStream<Buffer>;
  echo(): ClientDuplexStream<Buffer, Buffer>;
}
type Call = (
  request: Buffer,
  metadata: Metadata,
  options: { deadline?: Date },
  answer: (error: ServiceError | null, value?: Buffer) => void,
) => ClientUnaryCall;

let server: Server;
let front: Front;
let client: EchoClient;

beforeAll(async () => {
  server = new Server();
  server.addService(SERVICE, { unary, refuse, never, split, join, echo } as never);
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  );
  front = await startFront(port, { type: "requests", http: { h2Backend: true } });
  const Echo = makeGenericClientConstructor(SERVICE, "Echo");
  client = new Echo(`127.0.0.1:${front.port}`, credentials.createInsecure()) as unknown as EchoClient;
});

afterEach(async () => {
  await eventually(() => front.reach.claims.size === 0);
});

afterAll(async () => {
  client.close();
  await front.close();
  server.forceShutdown();
});

function ask(name: "unary" | "refuse" | "never", request: string, options: { deadline?: Date } = {}) {
  let call: ClientUnaryCall | undefined;
  const answer = new Promise<Buffer>((resolve, reject) => {
    call = client[name](Buffer.from(request), new Metadata(), options, (error, value) =>
      error === null ? resolve(value ?? Buffer.alloc(0)) : reject(error),
    );
  });
  if (call === undefined) throw new Error("no call");
  return { call, answer };
}

test("a unary call has its metadata at both ends, and its trailers", async () => {
  const { call, answer } = ask("unary", "hello");
  const [metadata] = (await once(call, "metadata")) as [Metadata];
  const [ended] = (await once(call, "status")) as [{ code: number; metadata: Metadata }];
  expect((await answer).toString()).toBe("hello");
  expect(metadata.get("x-seen")).toEqual(["fdaa:8000:1:a7b:1:0:a:102"]);
  expect(ended.code).toBe(status.OK);
  expect(ended.metadata.get("x-sum-bin")).toEqual([Buffer.from([0, 255, 7])]);
});

test("an answer of trailers only arrives with its code, its text and its metadata", async () => {
  const error = (await ask("refuse", "x").answer.catch((thrown: unknown) => thrown)) as ServiceError;
  expect(error).toMatchObject({ code: status.FAILED_PRECONDITION, details: "nö 100 %" });
  expect(error.metadata.get("x-why")).toEqual(["because"]);
});

test("an unknown method is answered UNIMPLEMENTED by the Machine, not by us", async () => {
  const answer = new Promise((resolve) => {
    client.makeUnaryRequest("/test.Echo/Missing", bytes, bytes, Buffer.alloc(0), (error) => resolve(error?.code));
  });
  expect(await answer).toBe(status.UNIMPLEMENTED);
});

test("a server stream arrives whole, however slowly it is read, with its trailers", async () => {
  const call = client.split(Buffer.from("abcdefghijklmnopqrst"));
  let seen = "";
  const ended = once(call, "status") as Promise<[{ code: number; metadata: Metadata }]>;
  for await (const part of call as AsyncIterable<Buffer>) {
    expect(part).toHaveLength(50_000);
    seen += String.fromCharCode(part[0] ?? 0);
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  expect(seen).toBe("abcdefghijklmnopqrst");
  const [final] = await ended;
  expect(final.code).toBe(status.OK);
  expect(final.metadata.get("x-count")).toEqual(["20"]);
});

test("a client stream of a megabyte is one message in the end", async () => {
  const answer = new Promise<Buffer | undefined>((resolve, reject) => {
    const call = client.join((error, value) => (error === null ? resolve(value) : reject(error)));
    for (let i = 0; i < 20; i++) call.write(Buffer.alloc(50_000, i));
    call.end();
  });
  expect(await answer).toHaveLength(1_000_000);
});

test("a stream in both directions answers each message before the next one is sent", async () => {
  const call = client.echo();
  for (const message of ["one", "two", "three"]) {
    call.write(Buffer.from(message));
    const [answer] = (await once(call, "data")) as [Buffer];
    expect(answer.toString()).toBe(message);
    expect(front.reach.claims.size).toBe(1);
  }
  const ended = once(call, "status") as Promise<[{ code: number }]>;
  call.end();
  call.resume();
  expect((await ended)[0].code).toBe(status.OK);
});

test("a deadline ends the call at both ends and releases the claim", async () => {
  const { answer } = ask("never", "late", { deadline: new Date(Date.now() + 200) });
  await expect(answer).rejects.toMatchObject({ code: status.DEADLINE_EXCEEDED });
  await eventually(() => cancelled.includes("late") && front.reach.claims.size === 0);
});

test("a cancelled call is cancelled at the Machine, and its claim is released", async () => {
  const { call, answer } = ask("never", "gone");
  await eventually(() => front.reach.claims.size === 1);
  call.cancel();
  await expect(answer).rejects.toMatchObject({ code: status.CANCELLED });
  await eventually(() => front.reach.claims.size === 0);
});

test("a cancelled stream leaves the others of its session alone", async () => {
  const other = client.echo();
  const { call, answer } = ask("never", "one of two");
  other.write(Buffer.from("before"));
  await once(other, "data");
  call.cancel();
  await expect(answer).rejects.toMatchObject({ code: status.CANCELLED });
  other.write(Buffer.from("after"));
  expect(String((await once(other, "data"))[0])).toBe("after");
  other.cancel();
  await expect(once(other, "status")).rejects.toMatchObject({ code: status.CANCELLED });
});
