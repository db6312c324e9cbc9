/** Frames of HTTP/2 as text of Latin-1, whether they make sense or not (RFC 9113 §4). */

export const DATA = 0;
export const HEADERS = 1;
export const RST_STREAM = 3;
export const SETTINGS = 4;
export const PING = 6;
export const GOAWAY = 7;
export const WINDOW_UPDATE = 8;
export const CONTINUATION = 9;
export const END_STREAM = 1;
export const END_HEADERS = 4;

export function frame(type: number, flags: number, stream: number, payload = ""): string {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return head.toString("latin1") + payload;
}

export const u32 = (value: number): string =>
  String.fromCharCode(value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);
export const PREFACE = `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${frame(SETTINGS, 0, 0)}`;
/** HPACK: `:method GET`, `:scheme http`, `:path /`, `:authority a`. */
export const GET = "\x82\x86\x84\x01\x01a";
/** A literal field that is not indexed; both parts shorter than 127 bytes. */
export const field = (name: string, value: string): string =>
  `\0${String.fromCharCode(name.length)}${name}${String.fromCharCode(value.length)}${value}`;

/** Types of the frames in what was received, and the error codes of GOAWAY and RST_STREAM. */
export function frames(received: string): { type: number; flags: number; code: number | undefined }[] {
  const bytes = Buffer.from(received, "latin1");
  const found = [];
  for (let at = 0; at + 9 <= bytes.length;) {
    const length = bytes.readUIntBE(at, 3);
    const type = bytes[at + 3] ?? 0;
    const code = type === GOAWAY ? at + 13 : type === RST_STREAM ? at + 9 : undefined;
    found.push({
      type,
      flags: bytes[at + 4] ?? 0,
      code: code === undefined || code + 4 > bytes.length ? undefined : bytes.readUInt32BE(code),
    });
    at += 9 + length;
  }
  return found;
}
