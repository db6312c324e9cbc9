const FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏";
/** What takes less needs no sign of life. */
const PATIENCE = 300;
const FRAME = 100;

/**
 * Shows on the terminal that something still goes on, while it does. Only there: in a file or a pipe it would be noise. The
 * line is gone when the work is done.
 */
export async function withProgress<T>(text: string, quiet: boolean, work: Promise<T>): Promise<T> {
  if (quiet || process.stderr.isTTY !== true) return work;
  const begun = Date.now();
  let shown = false;
  const timer = setInterval(() => {
    const elapsed = Date.now() - begun;
    if (elapsed < PATIENCE) return;
    shown = true;
    const frame = FRAMES[Math.floor(elapsed / FRAME) % FRAMES.length] ?? "";
    process.stderr.write(`\r\u001b[K${frame} ${text} (${Math.floor(elapsed / 1000)} s)`);
  }, FRAME);
  try {
    return await work;
  } finally {
    clearInterval(timer);
    if (shown) process.stderr.write("\r\u001b[K");
  }
}
