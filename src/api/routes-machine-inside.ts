import { constants } from "node:os";
import { createRoute, z } from "@hono/zod-openapi";
import { shellSplit } from "../config/shell-split.ts";
import { AppError } from "../core/errors.ts";
import { seconds } from "../core/units.ts";
import type { MachineRoutesOptions, MachineScope } from "./machine-scope.ts";
import { json, machineParam, newRouter, refused, type Router } from "./openapi.ts";
import { listProcesses } from "./process-list.ts";

const base = "/apps/{app}/machines/{id}";
const word = z.string().max(65_536);
const LONGEST_EXEC = 60;

/** `/exec` and `/ps`: what runs inside a Machine (reference §10.3). */
export function insideRoutes({ machines, registry }: MachineRoutesOptions, scope: MachineScope): Router {
  const routes = newRouter();
  const refuseAsleep = (state: string): void => {
    if (state !== "started") throw new AppError("conflict", `the Machine is ${state}: start it first`);
  };

  routes.openapi(
    createRoute({
      method: "post",
      path: `${base}/exec`,
      request: {
        params: machineParam,
        body: {
          content: json(
            z.looseObject({
              cmd: word.nullish(),
              command: z.array(word).max(256).nullish(),
              stdin: z.string().max(262_144).nullish(),
              timeout: z.number().min(0).nullish(),
            }),
          ),
          required: true,
        },
      },
      responses: {
        200: {
          description: "it ran to its end",
          content: json(z.object({ exit_code: z.number().int(), stdout: z.string(), stderr: z.string() })),
        },
        default: refused,
      },
    }),
    async (c) => {
      const machine = scope.findForChange(c);
      const { cmd, command, stdin, timeout } = c.req.valid("json");
      const [program, ...args] = command?.length ? command : wordsOf(cmd ?? "");
      if (program === undefined || program === "") throw new AppError("invalid", "json: cmd: names no command");
      refuseAsleep(registry.view.status(machine.id).state);
      const limit = Math.min(LONGEST_EXEC, timeout || LONGEST_EXEC);
      const { exit, timedOut, stdout, stderr } = await machines.exec(machine, {
        argv: [program, ...args],
        stdin: stdin ?? "",
        timeout: seconds(limit),
      });
      if (timedOut) throw new AppError("timeout", `the command did not end within ${limit} s and was killed`);
      return c.json({ exit_code: exit.code ?? 128 + signalNumber(exit.signal), stdout, stderr }, 200);
    },
  );

  routes.openapi(
    createRoute({
      method: "get",
      path: `${base}/ps`,
      request: { params: machineParam },
      responses: {
        200: {
          description: "its processes",
          content: json(
            z.array(
              z.object({
                pid: z.number().int(),
                stime: z.number().int(),
                rtime: z.number().int(),
                command: z.string(),
                directory: z.string(),
                cpu: z.number().int(),
                rss: z.number().int(),
                listen_sockets: z.array(z.object({ proto: z.string(), address: z.string() })),
              }),
            ),
          ),
        },
        default: refused,
      },
    }),
    async (c) => {
      const { id } = scope.find(c);
      const rows = await listProcesses(machines.processes(id));
      return c.json(
        rows.map((row) => ({ ...row, listen_sockets: [...row.listen_sockets] })),
        200,
      );
    },
  );
  return routes;
}

/** As the platform does it: split like a shell's words, and no shell runs them. @errors invalid */
function wordsOf(text: string): readonly string[] {
  const words = shellSplit(text);
  if (!words.ok) throw new AppError("invalid", `json: cmd: ${words.error}`);
  return words.value;
}

function signalNumber(name: string | undefined): number {
  const numbers: Readonly<Record<string, number>> = constants.signals;
  return numbers[name ?? ""] ?? 0;
}
