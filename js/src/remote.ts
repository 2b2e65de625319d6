// A node: where it is, and how it is asked.
//
// 1. Nothing is sent, and no setting is read, before the first call.
// 2. The token is in one header and nowhere else: not in an error.

import { errorOf, invalid } from "./errors.js";
import { exchange, type Asked, type Send } from "./exchange.js";
import type { Place } from "./places/place.js";

const URL_OF_NODE = "http://127.0.0.1:8080";
const TIMEOUT_MS = 300_000;

export interface Address {
  url?: string | undefined;
  token?: string | undefined;
  timeoutMs?: number | undefined;
}

export class Remote {
  readonly #place: Place;
  readonly #given: Address;
  #found: Promise<{ url: string; token: string | undefined }> | undefined;

  constructor(place: Place, given: Address) {
    this.#place = place;
    this.#given = given;
  }

  /** The body of the answer. Throws a `VirkeError`. */
  async ask(asked: Asked): Promise<ArrayBuffer> {
    const { url, token } = await (this.#found ??= this.#find());
    const timeoutMs = this.#given.timeoutMs ?? TIMEOUT_MS;
    const send: Send = ({ method, path, body, headers }) => {
      const all = { ...headers, ...(body !== undefined && { "content-type": "application/json" }), ...(token && { authorization: `Bearer ${token}` }) };
      return this.#place.send(url + path, { method, headers: all, ...(body !== undefined && { body }) }, timeoutMs);
    };
    return exchange(send, asked);
  }

  async #find(): Promise<{ url: string; token: string | undefined }> {
    const url = this.#given.url ?? ((await this.#place.setting("VIRKE_URL")) || URL_OF_NODE);
    const token = this.#given.token ?? ((await this.#place.setting("VIRKE_TOKEN")) || undefined);
    if (!/^https?:\/\/[^/?#@]+(?:\/[^?#]*)?$/.test(url)) throw invalid("VIRKE_URL is not the URL of a node", "write https://HOST[:PORT]; the token is VIRKE_TOKEN");
    if (token !== undefined && !/^[\x21-\x7e]+$/.test(token)) throw errorOf("denied", "VIRKE_TOKEN is no token: copy it whole, on one line");
    return { url: url.replace(/\/+$/, ""), token };
  }

  /** The database that a program means if it names none. */
  async defaultName(): Promise<string> {
    const name = await this.#place.setting("VIRKE_DB");
    if (!name) throw invalid("no database is named", "virke({ db: \"my-app-db\" }), or VIRKE_DB");
    return name;
  }
}
