// Node: settings of the process, a server of its own.

import { serve } from "@hono/node-server";
import { invalid } from "../errors.js";
import type { Place } from "./place.js";

const PORT = 3000;

/** The port of the environment. Throws: it is no port. */
function portOf(text: string | undefined): number {
  if (!text) return PORT;
  const port = Number(text);
  if (!/^\d+$/.test(text) || port > 65535) throw invalid(`PORT must be a number up to 65535, not ${JSON.stringify(text)}`);
  return port;
}

export const node: Place = {
  setting: (name) => process.env[name],
  send: (url, init, timeoutMs) => fetch(url, { ...init, signal: AbortSignal.timeout(timeoutMs) }),
  serve(answer, { port = portOf(process.env["PORT"]), hostname }) {
    const server = serve({ fetch: answer, port, ...(hostname === undefined ? {} : { hostname }) }, (info) => {
      console.error(`listening on http://${hostname ?? "localhost"}:${info.port}`);
    });
    server.once("error", (error: NodeJS.ErrnoException) => {
      console.error(`can't listen on port ${port}: ${error.message}`);
      process.exitCode = 1;
    });
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      process.once(signal, () => server.close()); // what runs is answered; a second signal ends the process at once
    }
  },
};
