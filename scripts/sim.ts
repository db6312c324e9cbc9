// Runs the simulator of the Machines: `npm run sim -- --seeds N [--from SEED] [--steps N] [--trace]`; a seed that fails is printed and
// can be replayed with `--from SEED --seeds 1`. See test/machines/simulator.ts.
import { parseArgs } from "node:util";
import { simulate } from "../test/machines/simulator.ts";

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "300" },
    from: { type: "string", default: "1" },
    trace: { type: "boolean", default: false },
    steps: { type: "string", default: "120" },
  },
});
const from = Number(values.from);
const totals = { served: 0, failed: 0, wakes: 0, sleeps: 0 };
let bad = 0;
for (let seed = from; seed < from + Number(values.seeds); seed++) {
  const trace = values.trace ? (line: string): void => console.log(line) : undefined;
  const report = await simulate(seed, { steps: Number(values.steps), trace });
  totals.served += report.served;
  totals.failed += report.failed;
  totals.wakes += report.wakes;
  totals.sleeps += report.sleeps;
  if (report.violations.length === 0) continue;
  bad++;
  console.log(`seed ${seed}: ${report.violations.slice(0, 3).join("; ")}`);
  console.log(`  again: npm run sim -- --seeds 1 --from ${seed} --steps ${values.steps}`);
  if (bad >= 5) break;
}
const { served, failed, wakes, sleeps } = totals;
console.log(
  `${values.seeds} seeds: ${served} served, ${failed} refused, ${wakes} wakes, ${sleeps} put to sleep; ${bad} bad`,
);
process.exitCode = bad === 0 ? 0 : 1;
