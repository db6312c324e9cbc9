/** Which bytes may stand where in an HTTP/1.1 head (RFC 9110 §5.6.2, RFC 9112 §3 and §5). One table look-up per byte. */

/** For bytes of a token: the lower-case letter, with `_` as `-`. 0: not a byte of a token. */
export const TOKEN = tokenTable();
/** 1 for bytes of a field value: visible ASCII, space, tab, and 0x80 to 0xff as they are. No other control byte. */
export const VALUE = table((byte) => byte === 0x09 || (byte >= 0x20 && byte !== 0x7f));
/** 1 for bytes of a request target: visible ASCII. `#` never reaches a server (RFC 9112 §3.2), so it is a trick here. */
export const TARGET = table((byte) => byte > 0x20 && byte < 0x7f && byte !== 0x23);
/** 1 for bytes of `Host`: unreserved, sub-delims, `%`, `:` and brackets (RFC 3986 §3.2). No `@`: that would be user info. */
export const HOST = table((byte) => /[A-Za-z0-9\-._~!$&'()*+,;=%:[\]]/.test(String.fromCharCode(byte)));

function table(allowed: (byte: number) => boolean): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, byte) => (allowed(byte) ? 1 : 0));
}

function tokenTable(): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, byte) => {
    const char = String.fromCharCode(byte);
    if (!/[!#$%&'*+\-.^_`|~0-9A-Za-z]/.test(char)) return 0;
    // Servers of the CGI family read X_Y and X-Y as one name, so to us they are one too.
    return char === "_" ? 0x2d : char.toLowerCase().charCodeAt(0);
  });
}
