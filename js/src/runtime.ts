// A program with a database: what is the same wherever it runs.

import { d1, type D1Database } from "./d1.js";
import { Database, type VirkeDB, type VirkeSession } from "./database.js";
import { errorOf, invalid, VirkeError } from "./errors.js";
import type { Place, ServeOptions } from "./places/place.js";
import { Remote } from "./remote.js";
import { Session } from "./session.js";
import type { Integers } from "./values.js";
import { arrive, leave, type BookmarkBy } from "./visitor.js";

export interface Options {
  /** The database: its name, or what gives the name for a request (a database for each tenant); else `VIRKE_DB`. */
  db?: string | ((request: Request) => string | Promise<string>);
  /** The node; else `VIRKE_URL`, else http://127.0.0.1:8080. */
  url?: string;
  /** What the node is shown; else `VIRKE_TOKEN`. */
  token?: string;
  /** What an INTEGER is in a result: a number (an error where one is not exact), a BigInt, or its digits. */
  integers?: Integers;
  /** How a visitor's bookmark travels: in a cookie, in the header `Virke-Bookmark`, or not at all. */
  bookmark?: BookmarkBy;
  /** How long one request to the node may take. */
  timeoutMs?: number;
}

/** What a program finds in `env`. */
export interface VirkeBindings {
  db: VirkeDB;
  /** The same database with the methods of Cloudflare D1's binding. */
  DB: D1Database;
}

/** What answers a request. */
export type Handler<Env = VirkeBindings> = (request: Request, env: Env) => Response | Promise<Response>;

/** One request: its bindings, and what its answer gets. */
export interface Visit {
  bindings: VirkeBindings;
  header(): [name: string, value: string] | undefined;
}

/** The databases of a program, at a place. */
export class Runtime {
  readonly place: Place;
  readonly #options: Options;
  readonly #remote: Remote;

  constructor(place: Place, options: Options) {
    const { integers = "number", bookmark = "cookie" } = options;
    if (!["number", "bigint", "string"].includes(integers)) throw invalid(`integers is "number", "bigint" or "string", not ${JSON.stringify(integers)}`);
    if (!["cookie", "header", false].includes(bookmark)) throw invalid(`bookmark is "cookie", "header" or false, not ${JSON.stringify(bookmark)}`);
    this.place = place;
    this.#options = options;
    this.#remote = new Remote(place, options);
  }

  /** The database outside of requests. */
  get database(): Database {
    const { db, integers = "number" } = this.#options;
    return new Database(this.#remote, () => {
      if (typeof db === "function") throw errorOf("invalid", "which database it is depends on the request: there is none here");
      return db ?? this.#remote.defaultName();
    }, integers, new Session());
  }

  get bindings(): VirkeBindings {
    return bindingsOf(this.database);
  }

  /** The bindings of a request. Throws what `db` throws. */
  async visit(request: Request): Promise<Visit> {
    const { db, integers = "number", bookmark = "cookie" } = this.#options;
    const tenant = typeof db === "function" ? await db(request) : undefined;
    const session = arrive(request.headers, bookmark, tenant);
    const name = tenant ?? (db as string | undefined);
    const database = new Database(this.#remote, () => name ?? this.#remote.defaultName(), integers, session);
    return { bindings: bindingsOf(database), header: () => leave(session, bookmark, tenant) };
  }
}

function bindingsOf(database: Database): VirkeBindings {
  return { db: database, DB: d1(database) };
}

/** A program without a framework. */
export interface Virke {
  /** Answer all requests with `handler`, which finds `env.db`. */
  fire(handler: Handler, options?: ServeOptions): void;
  /** The database outside of requests. */
  Bindings: VirkeBindings;
}

/** `virke`, `connect` and `fire` of a place. */
export function runtimeOf(place: Place) {
  function virke(options: Options = {}): Virke {
    const runtime = new Runtime(place, options);
    const fire = (handler: Handler, serving: ServeOptions = {}): void => {
      place.serve((request) => answer(runtime, handler, request), serving);
    };
    return { fire, Bindings: runtime.bindings };
  }
  /** A database for scripts and tests; nothing is sent before the first call. */
  const connect = (options: Options = {}): VirkeSession => new Runtime(place, options).database;
  /** `virke().fire`: the database is `VIRKE_DB`. */
  const fire = (handler: Handler, options: Options & ServeOptions = {}): void => virke(options).fire(handler, options);
  return { virke, connect, fire };
}

async function answer(runtime: Runtime, handler: Handler, request: Request): Promise<Response> {
  let visit: Visit | undefined;
  let response: Response;
  try {
    visit = await runtime.visit(request);
    response = await handler(request, visit.bindings);
  } catch (error) {
    response = responseTo(error);
  }
  const header = visit?.header();
  if (!header) return response;
  const headers = new Headers(response.headers);
  headers.append(...header);
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}

/** As Hono's: what an error says of itself, or 500 and a line in the log. */
function responseTo(error: unknown): Response {
  if (error instanceof VirkeError && error.getResponse) return error.getResponse();
  console.error(error);
  return new Response("Internal Server Error", { status: 500 });
}
