// The binding shaped like D1's, on a real node.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { virke } from "../dist/index.web.js";

const { DB, db } = virke({ db: "other" }).Bindings;
const failure = (promise) => promise.then(() => assert.fail("it did not fail"), (error) => error);

before(() => DB.exec("DROP TABLE IF EXISTS u;\nCREATE TABLE u (\n  id INTEGER PRIMARY KEY,\n  name TEXT NOT NULL UNIQUE,\n  data\n)"));

test("run says what changed", async () => {
  const { success, results, meta } = await DB.prepare("INSERT INTO u (name, data) VALUES (?, ?)").bind("ann", new Uint8Array([1, 255])).run();
  assert.deepEqual([success, results, meta.changes, meta.last_row_id, meta.changed_db, meta.rows_written], [true, [], 1, 1, true, 1]);
  for (const name of ["duration", "rows_read", "size_after"]) assert.equal(typeof meta[name], "number", name);
});

test("all, first and raw", async () => {
  const statement = DB.prepare("SELECT id, name, data FROM u WHERE name = ?").bind("ann");
  const { results, meta } = await statement.all();
  assert.deepEqual([results, meta.changes, meta.changed_db], [[{ id: 1, name: "ann", data: [1, 255] }], 0, false]);
  assert.deepEqual(await statement.first(), { id: 1, name: "ann", data: [1, 255] });
  assert.equal(await statement.first("name"), "ann");
  assert.match((await failure(statement.first("age"))).message, /D1_COLUMN_NOTFOUND/);
  assert.deepEqual(await statement.raw(), [[1, "ann", [1, 255]]]);
  assert.deepEqual(await statement.raw({ columnNames: true }), [["id", "name", "data"], [1, "ann", [1, 255]]]);
  const none = DB.prepare("SELECT id FROM u WHERE id = ?").bind(99);
  assert.deepEqual([await none.first(), await none.first("id"), await none.raw({ columnNames: true })], [null, null, [["id"]]]);
});

test("a list of bytes is a BLOB", async () => {
  assert.equal(await DB.prepare("SELECT hex(?)").bind([0, 16]).first("hex(?)"), "0010");
  for (const value of [[300], { a: 1 }]) assert.throws(() => DB.prepare("SELECT ?").bind(value), /D1_TYPE_ERROR: Type 'object'/);
});

test("bind makes another statement and keeps the first as it was", async () => {
  const statement = DB.prepare("SELECT ? AS x");
  const [one, two] = [statement.bind(1), statement.bind(2)];
  assert.deepEqual([await one.first("x"), await two.first("x"), await one.first("x")], [1, 2, 1]);
});

test("undefined is D1's error", () => assert.throws(() => DB.prepare("SELECT ?").bind(undefined), /D1_TYPE_ERROR/));

test("an error has D1's words, and those of SQLite in them", async () => {
  const error = await failure(DB.prepare("INSERT INTO u (id, name) VALUES (50, 'ann')").run());
  assert.equal(error.message, "D1_ERROR: UNIQUE constraint failed: u.name: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)");
  assert.deepEqual([error.code, error.status, error.cause.cause.sqliteCode], ["sql_error", 400, "SQLITE_CONSTRAINT_UNIQUE"]);
});

test("a batch is all of its statements, or none", async () => {
  const insert = DB.prepare("INSERT INTO u (name) VALUES (?)");
  const results = await DB.batch([insert.bind("bob"), insert.bind("cid"), DB.prepare("SELECT count(*) AS n FROM u")]);
  assert.deepEqual(results.map((one) => [one.results, one.meta.changes]), [[[], 1], [[], 1], [[{ n: 3 }], 0]]);
  await failure(DB.batch([insert.bind("dan"), insert.bind("bob")]));
  assert.equal(await DB.prepare("SELECT count(*) AS n FROM u WHERE name = 'dan'").first("n"), 0);
  assert.match((await failure(DB.batch([]))).message, /No SQL statements/);
  assert.match((await failure(DB.batch(["SELECT 1"]))).message, /D1_TYPE_ERROR/);
});

test("exec runs a script as one transaction, and counts its statements", async () => {
  const { count, duration } = await DB.exec("INSERT INTO u (name) VALUES ('e1');\nINSERT INTO u (name)\nVALUES ('e2'); -- done");
  assert.deepEqual([count, typeof duration], [2, "number"]);
  await failure(DB.exec("INSERT INTO u (name) VALUES ('e3'); INSERT INTO u (name) VALUES ('e1')"));
  assert.equal(await DB.prepare("SELECT count(*) AS n FROM u WHERE name LIKE 'e%'").first("n"), 2);
  assert.equal((await DB.exec(" -- nothing")).count, 0);
});

test("a session has a bookmark, from which another one goes on", async () => {
  const first = DB.withSession("first-primary");
  assert.equal(first.getBookmark(), null);
  await first.prepare("INSERT INTO u (name) VALUES ('s')").run();
  const second = DB.withSession(first.getBookmark());
  assert.equal(await second.prepare("SELECT name FROM u WHERE name = 's'").first("name"), "s");
  assert.deepEqual((await DB.withSession().batch([DB.prepare("SELECT 1 AS x")]))[0].results, [{ x: 1 }]);
});

test("db and DB are one session: each knows what the other wrote", async () => {
  await DB.prepare("INSERT INTO u (name) VALUES ('both')").run();
  assert.equal(db.bookmark, DB.getBookmark());
  assert.deepEqual((await db.query("SELECT name FROM u WHERE name = 'both'")).rows, [["both"]]);
});

test("an integer that is not exact is an error with a way out", async () => {
  const error = await failure(DB.prepare("SELECT 9007199254740993").all());
  assert.match(error.message + error.hint, /2\^53.*CAST/s);
});

test("dump is an SQLite file", async () => {
  assert.equal(Buffer.from(await DB.dump()).subarray(0, 15).toString(), "SQLite format 3");
});
