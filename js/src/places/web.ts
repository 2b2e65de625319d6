// Workers, and whatever else has `fetch` and the event of that name: settings are global names.

import { errorOf } from "../errors.js";
import type { Place } from "./place.js";

interface FetchEvent {
  readonly request: Request;
  respondWith(response: Promise<Response>): void;
}

const here = globalThis as unknown as {
  process?: { env?: Record<string, string | undefined> };
  addEventListener?: (type: "fetch", listener: (event: FetchEvent) => void) => void;
} & Record<string, unknown>;

export const web: Place = {
  setting(name) {
    const found = here[name];
    return typeof found === "string" ? found : here.process?.env?.[name];
  },
  send: (url, init, timeoutMs) => fetch(url, { ...init, signal: AbortSignal.timeout(timeoutMs) }),
  serve(answer) {
    if (typeof here.addEventListener !== "function") {
      throw errorOf("error", "there is nothing here that brings requests", { hint: "export default { fetch: app.fetch }" });
    }
    here.addEventListener("fetch", (event) => event.respondWith(answer(event.request, {}, event)));
  },
};
