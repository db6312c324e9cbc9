import type { Clock } from "../../core/clock.ts";

/** A `Date` line with CR LF: for our own answers, and for those of Machines that have none (RFC 9110 §6.6.1). Made once a second. */
export class DateLine {
  readonly #clock: Clock;
  #second = -1;
  #text = "";

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get text(): string {
    const second = Math.floor(this.#clock.wall() / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#text = `Date: ${new Date(second * 1000).toUTCString()}\r\n`;
    }
    return this.#text;
  }
}
