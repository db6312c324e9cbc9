/** Ports that Flycast itself answers on inside a network, at `fdaa::3` and `<prefix>::3`. */
export const DNS_PORT = 53;
/** The Machines API of the platform listens there too (superfly/docs machines/api/working-with-machines-api). */
export const API_PORT = 4280;
