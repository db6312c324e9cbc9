import { accessSync, constants } from "node:fs";
import { delimiter } from "node:path";

/** Where a program is: on the PATH, or in the folders of administration that an ordinary user's PATH often lacks. */
export function findProgram(name: string): string | undefined {
  const path = [...(process.env["PATH"] ?? "").split(delimiter), "/usr/local/sbin", "/usr/sbin", "/sbin"];
  return path.map((folder) => `${folder}/${name}`).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
