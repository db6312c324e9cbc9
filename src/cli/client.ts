import { request as httpRequest, type IncomingMessage } from "node:http";
import { AppError, ERROR_CODES, type ErrorCode } from "../core/errors.ts";
import { findNode, type NodeAddress, type NodeOptions } from "./node-address.ts";

/** Speaks to a node's API. `node:http` rather than fetch: a command should cost milliseconds. */
export class ApiClient {
  readonly node: NodeAddress;

  constructor(options: NodeOptions) {
    this.node = findNode(options, process.env, process.cwd());
  }

  get(path: string): Promise<unknown> {
    return this.call("GET", path);
  }

  post(path: string, body: unknown = {}): Promise<unknown> {
    return this.call("POST", path, body);
  }

  delete(path: string): Promise<unknown> {
    return this.call("DELETE", path);
  }

  /** @errors node_unreachable, or the code of the answer. */
  async call(method: string, path: string, body?: unknown): Promise<unknown> {
    const response = await this.open(method, path, body);
    const text = await this.textOf(response);
    const value: unknown = text === "" ? undefined : parse(text);
    if ((response.statusCode ?? 500) < 300) return value;
    throw errorFrom(response.statusCode ?? 500, value);
  }

  /** The answer as a stream of lines, until it ends or `signal` aborts. */
  async *lines(path: string, signal?: AbortSignal): AsyncGenerator<string> {
    const response = await this.open("GET", path, undefined, signal);
    if ((response.statusCode ?? 500) >= 300) {
      throw errorFrom(response.statusCode ?? 500, parse(await this.textOf(response)));
    }
    response.setEncoding("utf8");
    let rest = "";
    try {
      for await (const chunk of response) {
        const parts = (rest + String(chunk)).split("\n");
        rest = parts.pop() ?? "";
        yield* parts;
      }
    } catch (cause) {
      if (signal?.aborted !== true) throw this.gone(cause);
    }
    if (rest !== "") yield rest;
  }

  private open(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<IncomingMessage> {
    const url = new URL(path, this.node.url);
    const payload = body === undefined ? undefined : JSON.stringify(body);
    return new Promise((resolve, reject) => {
      const request = httpRequest(
        url,
        {
          method,
          ...(signal === undefined ? {} : { signal }),
          headers: {
            accept: "application/json",
            ...(this.node.token === undefined ? {} : { authorization: `Bearer ${this.node.token}` }),
            ...(payload === undefined
              ? {}
              : { "content-type": "application/json", "content-length": Buffer.byteLength(payload) }),
          },
        },
        resolve,
      );
      request.on("error", (cause) =>
        reject(
          new AppError("node_unreachable", `The node at ${this.node.url} does not answer (${cause.message}).`, {
            cause,
            details: { next: "flycast up" },
          }),
        ),
      );
      request.end(payload);
    });
  }

  private async textOf(response: IncomingMessage): Promise<string> {
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of response) chunks.push(chunk as Buffer);
    } catch (cause) {
      throw this.gone(cause);
    }
    return Buffer.concat(chunks).toString("utf8");
  }

  /** It ended in the middle of an answer. */
  private gone(cause: unknown): AppError {
    return new AppError("node_unreachable", `The node at ${this.node.url} has ended.`, { cause });
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function errorFrom(status: number, value: unknown): AppError {
  const body = typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  const code =
    typeof body["code"] === "string" && body["code"] in ERROR_CODES ? (body["code"] as ErrorCode) : "internal";
  const message = typeof body["error"] === "string" ? body["error"] : `the node answered ${status}`;
  return new AppError(code, message, { details: typeof body["next"] === "string" ? { next: body["next"] } : {} });
}
