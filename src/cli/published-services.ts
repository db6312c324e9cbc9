import { AppError } from "../core/errors.ts";

export interface PublishedService {
  readonly protocol: string;
  readonly internal_port: number;
  readonly autostart: boolean;
  readonly autostop: string;
  readonly ports: { readonly port: number; readonly handlers: readonly string[] }[];
}

/** `80:8080/tcp:http`: port, the Machine's own (the same if left out), protocol, handlers. */
const SPEC = /^(\d{1,5})(?::(\d{1,5}))?(?:\/(tcp|udp)((?::[a-z_]+)*))?$/;

/** Services as flyctl's `--port` names them; ports of one internal port are one service. @errors invalid */
export function servicesOf(
  specs: readonly string[],
  how: { readonly autostart: boolean; readonly autostop: string },
): readonly PublishedService[] {
  const services = new Map<string, PublishedService>();
  for (const spec of specs) {
    const [, port, own = port, protocol = "tcp", handlers = ""] = SPEC.exec(spec) ?? [];
    if (port === undefined || [port, own].some((text) => Number(text) < 1 || Number(text) > 65_535)) {
      throw new AppError(
        "invalid",
        `--port "${spec}": write PORT[:MACHINE_PORT][/tcp[:HANDLER…]], such as 80:8080/tcp:http`,
      );
    }
    const key = `${own}/${protocol}`;
    const service = services.get(key) ?? { protocol, internal_port: Number(own), ...how, ports: [] };
    service.ports.push({ port: Number(port), handlers: handlers.split(":").filter((name) => name !== "") });
    services.set(key, service);
  }
  return [...services.values()];
}
