// Fastly Compute: the database is the backend `virke`, its token is in the Secret Store `virke`, its name in the Config Store `virke`.
//
// The service's deployment makes all three. A store that is not linked has nothing in it, as with `virke dev --edge`.

import { ConfigStore } from "fastly:config-store";
import { SecretStore } from "fastly:secret-store";
import type { Place } from "./place.js";
import { web } from "./web.js";

const LINK = "virke";
const URL_OF_BACKEND = "http://virke";

async function token(): Promise<string | undefined> {
  let store: SecretStore;
  try {
    store = new SecretStore(LINK);
  } catch {
    return undefined; // not linked
  }
  return (await store.get("token"))?.plaintext();
}

function databaseName(): string | undefined {
  try {
    return new ConfigStore(LINK).get("db") ?? undefined;
  } catch {
    return undefined; // not linked
  }
}

export const fastly: Place = {
  setting(name) {
    if (name === "VIRKE_URL") return URL_OF_BACKEND; // the backend says where it really is
    return name === "VIRKE_TOKEN" ? token() : databaseName();
  },
  send: (url, init) => fetch(url, { ...init, backend: LINK } as RequestInit), // a backend has timeouts of its own
  serve: (answer, options) => web.serve(answer, options),
};
