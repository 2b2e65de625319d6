// The public HTTP API, and nothing else: docs/http.md has every route.

import { parse } from './values.js';

const KEY = 'virke-token';
const root = new URL('../', document.baseURI);
const bookmarks = new Map();

/** The token of this tab: it is forgotten when the tab is closed. */
export const token = {
  get: () => sessionStorage.getItem(KEY),
  set: (text) => (text ? sessionStorage.setItem(KEY, text) : sessionStorage.removeItem(KEY)),
};

/** What the node said: `status` 0 is that it did not answer. */
export class ApiError extends Error {
  constructor(status, { code = 'error', message = 'the node answered something that is not understood', hint } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.hint = hint;
  }
}

/** Send a request; its JSON. Throws `ApiError`. */
export async function ask(method, path, body, headers = {}) {
  const shown = token.get();
  let response, text;
  try {
    response = await fetch(new URL(path, root), {
      method,
      headers: {
        ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
        ...(shown ? { Authorization: `Bearer ${shown}` } : {}),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: 'no-store',
      credentials: 'omit',
      redirect: 'error',
    });
    text = await response.text();
  } catch (error) {
    throw new ApiError(0, { code: 'unavailable', message: 'the node does not answer', hint: String(error.message ?? '') });
  }
  let found;
  try {
    found = parse(text);
  } catch {
    throw new ApiError(response.status);
  }
  if (!response.ok) throw new ApiError(response.status, found?.error);
  return found;
}

/** The databases that the token may see. */
export const databases = async () => (await ask('GET', 'db')).databases.map((one) => one.name);

/** One database. */
export class Database {
  constructor(name) {
    this.name = name;
    this.path = `db/${encodeURIComponent(name)}`;
  }

  get(route) { return ask('GET', `${this.path}/${route}`); }

  post(route, body) { return ask('POST', `${this.path}/${route}`, body); }

  /** Run one statement, or with `script` several; reads see what this page has seen, and nothing older. */
  async run(sql, params = [], more = {}) {
    const known = more.at === undefined ? bookmarks.get(this.name) : undefined;
    const body = more.script ? { sql, ...more } : { sql, params, ...more };
    const found = await ask('POST', `${this.path}/query`, body, known ? { 'Virke-Bookmark': known } : {});
    if (found.bookmark && more.at === undefined) bookmarks.set(this.name, found.bookmark);
    return found;
  }

  /** Forget what was seen: after a restore the history goes on from elsewhere. */
  forget() { bookmarks.delete(this.name); }
}
