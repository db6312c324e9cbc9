/** How long a message body is (RFC 9112 §6.3). Whatever two readers could read in two ways is refused. */
import type { HeadParser } from "./head.ts";
import { NAME } from "./known-names.ts";

/** Bytes of the body, or one of the negative numbers below. */
export type Framing = number;
export const CHUNKED = -1;
/** Responses only: the body ends when the connection does. */
export const UNTIL_CLOSE = -2;
/** Two lengths, a length and chunks, a length that is no number, an unknown coding. */
export const AMBIGUOUS = -3;
/** A transfer coding other than chunked: well formed, and not ours to undo. */
export const UNKNOWN_CODING = -4;

const MAX_LENGTH_DIGITS = 15; // below 2 ** 53

export function requestFraming(head: HeadParser): Framing {
  const declared = declaredFraming(head);
  return declared === UNTIL_CLOSE ? 0 : declared;
}

/** `toHead`: the request was HEAD, so the fields describe a body that does not come. */
export function responseFraming(head: HeadParser, toHead: boolean): Framing {
  const declared = declaredFraming(head);
  if (declared === AMBIGUOUS || declared === UNKNOWN_CODING) return declared;
  if (toHead || head.status < 200 || head.status === 204 || head.status === 304) return 0;
  return declared;
}

/**
 * Whether between the colon and the value of a framing field there is anything but spaces. A tab is allowed there (RFC
 * 9110 §5.6.3), but nginx takes it for a part of the value; nobody sends it in good faith.
 */
function isOddlySpaced(head: HeadParser, index: number): boolean {
  const tab = head.text.indexOf("\t", head.nameEnd[index]);
  return tab !== -1 && tab < (index + 1 < head.count ? (head.nameStart[index + 1] ?? 0) : head.text.length);
}

function declaredFraming(head: HeadParser): Framing {
  let length = UNTIL_CLOSE;
  let chunked = false;
  for (let i = 0; i < head.count; i++) {
    const kind = head.kinds[i];
    if (kind === NAME["content-length"]) {
      if (length !== UNTIL_CLOSE || isUnderscored(head, i) || isOddlySpaced(head, i)) return AMBIGUOUS;
      length = parseLength(head.text, head.valueStart[i] ?? 0, head.valueEnd[i] ?? 0);
      if (length === AMBIGUOUS) return AMBIGUOUS;
    } else if (kind === NAME["transfer-encoding"]) {
      // HTTP/1.0 knows no transfer codings: whoever sends one there has changed the message on its way.
      if (chunked || head.minor === 0 || isUnderscored(head, i) || isOddlySpaced(head, i)) return AMBIGUOUS;
      const value = head.value(i);
      if (value !== "chunked" && value.toLowerCase() !== "chunked") {
        return /^[a-z]+(?:[ \t]*,[ \t]*[a-z]+)*[ \t]*,[ \t]*chunked$/i.test(value) && length === UNTIL_CLOSE
          ? UNKNOWN_CODING
          : AMBIGUOUS;
      }
      chunked = true;
    }
  }
  if (!chunked) return length;
  return length === UNTIL_CLOSE ? CHUNKED : AMBIGUOUS;
}

/** `Content_Length` is nothing to most servers and a length to those of the CGI family. */
function isUnderscored(head: HeadParser, index: number): boolean {
  const underscore = head.text.indexOf("_", head.nameStart[index]);
  return underscore !== -1 && underscore < (head.nameEnd[index] ?? 0);
}

function parseLength(text: string, start: number, end: number): number {
  if (end === start || end - start > MAX_LENGTH_DIGITS) return AMBIGUOUS;
  let value = 0;
  for (let i = start; i < end; i++) {
    const digit = text.charCodeAt(i) - 0x30;
    if (digit < 0 || digit > 9) return AMBIGUOUS;
    value = value * 10 + digit;
  }
  return value;
}
