// What is sent: where, with which headers, and what with it again.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { connect } from "../dist/index.web.js";

delete process.env.VIRKE_URL;
const MARK = "main.00000001.0000000000000003.7c9d1be4";
const RESULT = { columns: [], decltypes: [], rows: [], rows_affected: 0, last_insert_rowid: null, version: 3, bookmark: MARK };
let sent = [];
let outcomes = [];
const answer = (body = RESULT, status = 200) => new Response(JSON.stringify(body), { status });

beforeEach(() => {
  sent = [];
  outcomes = [];
});
globalThis.fetch = async (url, { method, headers, body }) => {
  sent.push({ url, method, ...headers, body: body && JSON.parse(body) });
  return (outcomes.shift() ?? answer)();
};
const lost = () => Promise.reject(Object.assign(new TypeError("fetch failed"), { cause: Object.assign(new Error("reset"), { code: "ECONNRESET" }) }));
const failure = (promise) => promise.then(() => assert.fail("it did not fail"), (error) => error);

test("the node is on this machine unless something says where it is", async () => {
  await connect({ db: "shop" }).query("SELECT 1");
  await connect({ db: "shop", url: "https://node.example/below/", token: "vk_x" }).query("SELECT ?", [1]);
  process.env.VIRKE_URL = "http://elsewhere:81";
  process.env.VIRKE_TOKEN = "vk_env";
  await connect({ db: "shop" }).execute("SELECT 1");
  delete process.env.VIRKE_URL;
  delete process.env.VIRKE_TOKEN;
  assert.deepEqual(sent.map((one) => [one.method, one.url, one.authorization]), [
    ["POST", "http://127.0.0.1:8080/db/shop/query", undefined],
    ["POST", "https://node.example/below/db/shop/query", "Bearer vk_x"],
    ["POST", "http://elsewhere:81/db/shop/execute", "Bearer vk_env"],
  ]);
  assert.deepEqual(sent[1].body, { sql: "SELECT ?", params: [1] });
});

test("a read has no key; each write has one of its own; what can't have one has none", async () => {
  const db = connect({ db: "shop" });
  outcomes = [answer, answer, answer, () => answer([RESULT])];
  for (const sql of ["SELECT 1", "DELETE FROM t", "DELETE FROM t"]) await db.query(sql);
  await db.batch(["SELECT 1", "DELETE FROM t"]);
  await db.execute("PRAGMA user_version = 1");
  const keys = sent.map((one) => one["idempotency-key"]);
  assert.deepEqual(keys.map((key) => key?.length), [undefined, 32, 32, 32, undefined]);
  assert.equal(new Set(keys).size, 4);
});

test("a write whose answer was lost is sent again with its key, and is what it was", async () => {
  outcomes = [lost, lost];
  await connect({ db: "shop" }).execute("DELETE FROM t");
  assert.equal(sent.length, 3);
  assert.deepEqual(sent[0], sent[2]);
  assert.equal(sent[0]["idempotency-key"].length, 32);
});

test("a PRAGMA whose answer was lost is not sent again", async () => {
  outcomes = [lost];
  assert.equal((await failure(connect({ db: "shop" }).execute("PRAGMA user_version = 1"))).code, "outcome_unknown");
  assert.equal(sent.length, 1);
});

test("what was seen is sent with what comes next, by a session for itself alone", async () => {
  const db = connect({ db: "shop" });
  await db.query("SELECT 1");
  await db.query("SELECT 1");
  await db.session().query("SELECT 1");
  await db.session(MARK).query("SELECT 1");
  assert.deepEqual(sent.map((one) => one["virke-bookmark"]), [undefined, MARK, undefined, MARK]);
});

const pipeline = (response, baton) => () => answer({ baton, base_url: null, results: [{ type: "ok", response }] });

test("a transaction is one stream: begin, what it runs, commit", async () => {
  outcomes = [
    pipeline({ type: "virke_begin", version: 1, bookmark: MARK }, "b1"),
    pipeline({ type: "virke_run", results: [RESULT] }, "b2"),
    pipeline({ type: "virke_commit", version: 2, bookmark: MARK }, null),
  ];
  await connect({ db: "shop" }).transaction((tx) => tx.execute("DELETE FROM t WHERE id = ?", [1n]));
  assert.deepEqual(sent.map((one) => [one.url, one.body.baton, one.body.requests.map((request) => request.type)]), [
    ["http://127.0.0.1:8080/db/shop/v3/pipeline", null, ["virke_begin"]],
    ["http://127.0.0.1:8080/db/shop/v3/pipeline", "b1", ["virke_run"]],
    ["http://127.0.0.1:8080/db/shop/v3/pipeline", "b2", ["virke_commit", "close"]],
  ]);
  assert.deepEqual(sent[1].body.requests[0].statements, [{ sql: "DELETE FROM t WHERE id = ?", params: [{ int64: "1" }] }]);
});

test("a lost answer ends a transaction; of its commit alone the outcome is not known", async () => {
  const begun = pipeline({ type: "virke_begin", version: 1, bookmark: MARK }, "b1");
  outcomes = [begun, lost];
  const run = await failure(connect({ db: "shop" }).transaction((tx) => tx.query("SELECT 1")));
  assert.deepEqual([run.code, sent.length], ["unavailable", 2]);
  assert.match(run.message, /nothing of it is in history/);
  sent = [];
  outcomes = [begun, lost];
  const commit = await failure(connect({ db: "shop" }).transaction(async () => 1));
  assert.deepEqual([commit.code, sent.length], ["outcome_unknown", 2]);
});

test("an answer that is not a node's is not understood", async () => {
  for (const body of [{}, [], "x", { ...RESULT, rows: [[{ odd: "1" }]] }, { ...RESULT, columns: null }]) {
    outcomes = [() => answer(body)];
    assert.match((await failure(connect({ db: "shop" }).query("SELECT 1"))).message, /not understood/, JSON.stringify(body));
  }
});

test("a write whose rows can't be given says that it was done", async () => {
  outcomes = [() => answer({ ...RESULT, rows: [[{ int64: "9007199254740993" }]] }), () => answer({})];
  const db = connect({ db: "shop" });
  const exact = await failure(db.query("INSERT INTO t VALUES (1) RETURNING id"));
  assert.deepEqual([exact.code, "getResponse" in exact], ["error", false]);
  assert.match(exact.message, /it was done/);
  assert.equal((await failure(db.execute("DELETE FROM t"))).code, "outcome_unknown");
});

test("a transaction that the node took back is over: nothing more is sent for it", async () => {
  const taken = { type: "error", error: { message: "x", code: "SQLITE_BUSY", virke: { code: "conflict", message: "lost" } } };
  outcomes = [pipeline({ type: "virke_begin", version: 1, bookmark: MARK }, "b1"), () => answer({ baton: null, results: [taken] })];
  const work = async (tx) => {
    const first = await failure(tx.query("SELECT 1"));
    const second = await failure(tx.query("SELECT 1"));
    assert.deepEqual([first.code, second.message], ["conflict", "the transaction is over"]);
    throw first;
  };
  assert.deepEqual([(await failure(connect({ db: "shop" }).transaction(work))).status, sent.length], [409, 2]);
});
