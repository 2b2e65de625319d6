// Fastly Compute: the node is the backend `virke`, its token is in the Secret Store `virke`.
//
// The service's deployment makes both. Nothing of this module is run by the tests: it needs Fastly's runtime.

import { SecretStore } from "fastly:secret-store";
import type { Place } from "./place.js";
import { web } from "./web.js";

const BACKEND = "virke";
const STORE = "virke";
const URL_OF_BACKEND = "http://virke";

export const fastly: Place = {
  async setting(name) {
    if (name === "VIRKE_URL") return URL_OF_BACKEND; // the backend says where it really is
    const secret = await new SecretStore(STORE).get(name);
    return secret?.plaintext();
  },
  send: (url, init) => fetch(url, { ...init, backend: BACKEND } as RequestInit), // a backend has timeouts of its own
  serve: (answer, options) => web.serve(answer, options),
};
