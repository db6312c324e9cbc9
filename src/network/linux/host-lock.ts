import { createServer } from "node:net";
import { AppError } from "../../core/errors.ts";

/**
 * Keeps a second node, with whatever state folder, out of a namespace whose Machines it would take for strays. A socket of
 * the kernel's abstract kind: it ends with the process, kill -9 included, and every network namespace has names of its own.
 * @errors state_locked
 */
export function lockHostNamespace(namespace: string): Promise<void> {
  const server = createServer((socket) => socket.destroy());
  return new Promise((resolve, reject) => {
    server.once("error", (cause) =>
      reject(
        new AppError("state_locked", "another node serves this computer in host mode: there can be only one", {
          cause,
          details: { next: "systemctl stop flycast" },
        }),
      ),
    );
    server.listen(`\0flycast/host/${namespace}`, () => {
      // The lock alone keeps no process alive.
      server.unref();
      resolve();
    });
  });
}
