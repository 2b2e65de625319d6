// A program without a framework, in a place that has the event `fetch` (workerd's, and what is like it).
import assert from "node:assert/strict";
import { before, test } from "node:test";

let listener;
globalThis.addEventListener = (type, listens) => {
  assert.equal(type, "fetch");
  listener = listens;
};
const { connect, fire, virke } = await import("../dist/index.web.js");

const ask = (path, init) => new Promise((done) => listener({ request: new Request(`http://here${path}`, init), respondWith: done }));
const cookieOf = (response) => response.headers.get("set-cookie")?.split(";")[0];

before(async () => {
  for (const db of ["app", "other"]) await connect({ db }).batch(["DROP TABLE IF EXISTS visit", "CREATE TABLE visit (who TEXT UNIQUE)"]);
});

const program = async (request, env) => {
  const { pathname, searchParams } = new URL(request.url);
  if (pathname === "/broken") return new Response((await env.db.query("SELECT * FROM nowhere")).rows);
  if (pathname === "/d1") return Response.json(await env.DB.prepare("INSERT INTO visit VALUES (?) RETURNING who").bind(searchParams.get("who")).first());
  if (pathname === "/tx") return Response.json(await env.db.transaction((tx) => tx.execute("INSERT INTO visit VALUES (?)", [searchParams.get("who")])));
  if (request.method === "POST") return Response.json(await env.db.execute("INSERT INTO visit VALUES (?)", [searchParams.get("who") ?? undefined]), { status: 201 });
  return Response.json((await env.db.query("SELECT who FROM visit ORDER BY who")).rows);
};

test("fire answers requests with env.db", async () => {
  virke({ db: "app" }).fire(program);
  const post = await ask("/?who=ann", { method: "POST" });
  assert.deepEqual([post.status, await post.json()], [201, 1]);
  assert.match(post.headers.get("set-cookie"), /^virke_bookmark=main\.[0-9a-f.]+; Path=\/; Max-Age=60; HttpOnly; SameSite=Lax$/);
  const get = await ask("/", { headers: { cookie: cookieOf(post) } });
  assert.deepEqual([get.status, await get.json(), get.headers.get("set-cookie")], [200, [["ann"]], null]);
});

test("what wrote through DB or a transaction has the cookie too; what failed has none", async () => {
  virke({ db: "app" }).fire(program);
  assert.ok(cookieOf(await ask("/d1?who=dan")));
  assert.ok(cookieOf(await ask("/tx?who=tom")));
  const again = await ask("/d1?who=dan");
  assert.deepEqual([again.status, cookieOf(again), (await again.json()).error.sqlite_code], [400, undefined, "SQLITE_CONSTRAINT_UNIQUE"]);
});

test("a field that is missing is 400, a fault of the program 500 without its words", async (t) => {
  virke({ db: "app" }).fire(program);
  assert.equal((await ask("/", { method: "POST" })).status, 400);
  const log = t.mock.method(console, "error", () => undefined);
  const broken = await ask("/broken");
  assert.deepEqual([broken.status, await broken.text(), log.mock.callCount()], [500, "Internal Server Error", 1]);
  assert.match(String(log.mock.calls[0].arguments[0]), /no such table/);
});

test("a cookie that was made up costs a visitor nothing", async () => {
  virke({ db: "app" }).fire(program);
  for (const cookie of ["main.00000001.00000000ffffffff.00000000", "dev.00000001.0000000000000001.00000000", "%00", "x"]) {
    const headers = { cookie: `virke_bookmark=${cookie}` };
    assert.equal((await ask("/", { headers })).status, 200, cookie);
    assert.equal((await ask(`/tx?who=${cookie}`, { headers })).status, 200, cookie);
  }
});

test("the bookmark in a header, or nowhere", async () => {
  virke({ db: "app", bookmark: "header" }).fire(program);
  const post = await ask("/?who=hal", { method: "POST" });
  assert.deepEqual([post.headers.get("virke-bookmark")?.slice(0, 5), post.headers.get("set-cookie")], ["main.", null]);
  virke({ db: "app", bookmark: false }).fire(program);
  const none = await ask("/?who=nil", { method: "POST" });
  assert.deepEqual([none.headers.get("virke-bookmark"), none.headers.get("set-cookie")], [null, null]);
});

test("a database for each tenant", async () => {
  virke({ db: async (request) => new URL(request.url).searchParams.get("of") }).fire(program);
  const post = await ask("/?of=other&who=zoe", { method: "POST" });
  assert.equal(post.status, 201);
  assert.match(decodeURIComponent(cookieOf(post)), /^virke_bookmark=other:main\./);
  assert.deepEqual(await (await ask("/?of=other", { headers: { cookie: cookieOf(post) } })).json(), [["zoe"]]);
  assert.equal((await (await ask("/?of=app", { headers: { cookie: cookieOf(post) } })).json()).flat().includes("zoe"), false);
  assert.equal((await ask("/?of=..")).status, 400);
});

test("the database may be named by the environment", async () => {
  process.env.VIRKE_DB = "other";
  fire(program);
  assert.deepEqual(await (await ask("/")).json(), [["zoe"]]);
});

test("an option that means nothing is an error at once", () => {
  for (const options of [{ bookmark: "cookies" }, { bookmark: true }, { integers: "int" }]) assert.throws(() => virke(options), { code: "invalid" });
});
