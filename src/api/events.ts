/** What `flycast up --json` prints, one object a line (design §5). `time` is added where it is printed. */
export interface ReadyService {
  readonly app: string;
  readonly org: string;
  /** Of the network that the address lives on. */
  readonly network: string;
  readonly address: string;
  readonly port: number;
  /** Last port of a range. */
  readonly endPort?: number;
  readonly handlers: readonly string[];
  /** `host:port` on this computer; absent where it is not published. */
  readonly published?: string;
}

/** Milliseconds from the moment that the first waiter was accepted; absent where the step did not happen. */
export interface Receipt {
  /** RFC 3339. */
  readonly accepted: string;
  readonly waiters: number;
  /** A suspended Machine went on, instead of one that booted. */
  readonly resumed: boolean;
  /** When the start began: routing, choosing and queueing lie before it. */
  readonly claimed: number;
  readonly driverStarted?: number;
  readonly portOpen?: number;
  readonly checkPassed?: number;
  readonly firstByte?: number;
  /** The app's own time, and Flycast's. */
  readonly appShare?: number;
  readonly ownShare?: number;
}

export type SystemEvent =
  | {
      readonly event: "ready";
      readonly mode: string;
      readonly api: string;
      readonly dns: readonly string[];
      readonly services: readonly ReadyService[];
    }
  | {
      readonly event: "wake";
      readonly app: string;
      readonly machine: string;
      readonly by: string;
      readonly waiters: number;
    }
  | {
      readonly event: "started";
      readonly app: string;
      readonly machine: string;
      readonly because: string;
      /** Only of a wake. */
      readonly receipt?: Receipt;
    }
  | {
      readonly event: "stopping";
      readonly app: string;
      readonly machine: string;
      readonly because: string;
      /** Who was in use and was ended by force. */
      readonly cut?: readonly string[];
    }
  | {
      readonly event: "stopped";
      readonly app: string;
      readonly machine: string;
      readonly because: string;
      readonly exit: { readonly code?: number; readonly signal?: string };
    }
  | { readonly event: "suspended"; readonly app: string; readonly machine: string; readonly because: string }
  | {
      readonly event: "failed";
      readonly app: string;
      readonly machine: string;
      readonly code: string;
      readonly message: string;
    }
  /** A `release_command` begins; the app's Machines start after it. A failure is a `problem`. */
  | { readonly event: "release"; readonly app: string; readonly command: readonly string[] }
  /** The node goes down, and lets what is in use finish first. Not when nothing is. */
  | {
      readonly event: "draining";
      readonly apps: readonly { readonly app: string; readonly connections: number; readonly requests: number }[];
    }
  | { readonly event: "reload"; readonly changed: readonly string[] }
  | { readonly event: "problem"; readonly code: string; readonly message: string; readonly app?: string };

export type TimedEvent = SystemEvent & { readonly time: string };
