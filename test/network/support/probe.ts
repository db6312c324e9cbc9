/** Prints what the probe finds for whoever runs this. */
import { probeLab } from "../../../src/network/linux/probe.ts";

process.stdout.write(JSON.stringify(await probeLab()));
