// Compiled, never run: the seed's interfaces (SEED, put before this) are ours, and libraries take the binding.
import type { QueryResult as OurResult, VirkeDB as OurDB } from "@virke/runtime";
import { connect, Conflict, VirkeError, virke } from "@virke/runtime";
import { virke as honoVirke } from "@virke/runtime/hono";
import { drizzle } from "drizzle-orm/d1";
import { Hono } from "hono";
import { D1Dialect } from "kysely-d1";
import { PrismaD1 } from "@prisma/adapter-d1";

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const sameResult: Same<OurResult, QueryResult> = true;
const sameMethods: Same<Pick<OurDB, keyof VirkeDB>, Pick<VirkeDB, keyof VirkeDB>> = true;
const more: Exclude<keyof OurDB, keyof VirkeDB>[] = ["batch", "transaction", "session"];

const { fire, Bindings } = virke({ db: (request) => new URL(request.url).hostname, integers: "bigint", bookmark: "header" });
fire(async (request, env) => {
  const db: VirkeDB = env.db;
  const [first] = await env.db.batch(["SELECT 1", ["SELECT ?", [1]], { sql: "SELECT ?", params: [request.url] }]);
  const n: number = await env.db.transaction(async (tx) => tx.execute("DELETE FROM t"), { readOnly: false });
  const session = env.db.session();
  const bookmark: string | null = session.bookmark;
  return Response.json([db, first?.rows, n, bookmark]);
});

const hono = honoVirke({ db: "app" });
const app = new Hono<{ Bindings: typeof hono.Bindings }>();
app.use("*", hono.middleware);
app.get("/", async (c) => c.json((await c.env.db.query("SELECT 1")).rows));
app.onError((error, c) => c.text(error instanceof Conflict ? "again" : error instanceof VirkeError ? error.code : "?", 500));
hono.fire(app, { port: 3000 });

export const drizzled = drizzle(Bindings.DB);
export const dialect = new D1Dialect({ database: Bindings.DB });
export const prisma = new PrismaD1(Bindings.DB);
export const checked = [sameResult, sameMethods, more, connect({ db: "x" }).bookmark];
