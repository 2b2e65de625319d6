// A program written with Hono: `c.env.db` is the database of the running request.

import type { MiddlewareHandler } from "hono";
import type { Place, ServeOptions } from "./places/place.js";
import { Runtime, type Options, type VirkeBindings } from "./runtime.js";

/** A Hono program, or anything else that answers `fetch`. */
export interface App {
  fetch(request: Request, env?: any, context?: any): Response | Promise<Response>;
}

export interface VirkeHono {
  /** Answer all requests with `app`. */
  fire(app: App, options?: ServeOptions): void;
  /** Brings the database of a request: `app.use("*", middleware)`. */
  middleware: MiddlewareHandler<any>;
  /** The database outside of requests, and its type: `new Hono<{ Bindings: typeof Bindings }>()`. */
  Bindings: VirkeBindings;
}

/** `virke` of a place. */
export function honoOf(place: Place) {
  return function virke(options: Options = {}): VirkeHono {
    const runtime = new Runtime(place, options);
    const middleware: MiddlewareHandler<any> = async (c, next) => {
      if (c.env?.db) return next(); // a test's, or this middleware's a second time
      const visit = await runtime.visit(c.req.raw);
      c.env = { ...c.env, ...visit.bindings };
      await next();
      const header = visit.header();
      if (header) c.header(...header, { append: true });
    };
    const fire = (app: App, serving: ServeOptions = {}): void => {
      place.serve(async (request, ...more) => app.fetch(request, ...more), serving);
    };
    return { fire, middleware, Bindings: runtime.bindings };
  };
}
