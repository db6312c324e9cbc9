/** What a Machine needs to be one, as the children of these tests write it. */
export const PLAIN_CONFIG = {
  command: [],
  folder: "/",
  env: {},
  services: [],
  checks: [],
  mounts: [],
  files: [],
  metadata: {},
  processGroup: "app",
  stop: { signal: "SIGINT", timeout: 0 },
  restart: { policy: "no", maxRetries: 0 },
  guest: {},
  skipDns: false,
  autoDestroy: false,
};
