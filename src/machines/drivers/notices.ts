import type { AppName } from "../../core/ids.ts";
import type { Machine } from "../../registry/model.ts";
import type { ProcessDriverOptions } from "./process-driver.ts";

/** What an app asks for and does not get here. */
export class Notices {
  readonly #options: Pick<ProcessDriverOptions, "onNotice" | "log">;
  readonly #told = new Set<string>();

  constructor(options: Pick<ProcessDriverOptions, "onNotice" | "log">) {
    this.#options = options;
  }

  /** Each message once. */
  tell(app: AppName, message: string): void {
    if (this.#told.has(message)) return;
    this.#told.add(message);
    const { onNotice, log } = this.#options;
    if (onNotice === undefined) log.warn({ app }, message);
    else onNotice(app, message);
  }

  tellOfFiles({ app, config }: Machine): void {
    if (config.files.length === 0) return;
    this.tell(app, "[[files]] are not put in place in loopback mode, where Machines see the computer's own files");
  }
}
