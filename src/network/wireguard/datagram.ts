/**
 * Whether bytes from anywhere may be a datagram of WireGuard: type, three zeros, and the length of that type
 * (the WireGuard paper, sections 5.4.2 to 5.4.7). Whatever else arrives costs nothing but this look.
 */
export function isWireGuard(datagram: Uint8Array): boolean {
  if (datagram.length < 32 || datagram[1] !== 0 || datagram[2] !== 0 || datagram[3] !== 0) return false;
  switch (datagram[0]) {
    case 1:
      return datagram.length === 148;
    case 2:
      return datagram.length === 92;
    case 3:
      return datagram.length === 64;
    case 4:
      // The padded packet of 16-byte blocks inside; a keepalive has none.
      return datagram.length % 16 === 0;
    default:
      return false;
  }
}
