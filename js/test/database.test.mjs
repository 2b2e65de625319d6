// A database of a real node, whose URL is VIRKE_URL.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { connect, Conflict, virke } from "../dist/index.web.js";
import { meant, vectors } from "./golden.mjs";

const db = connect({ db: "app" });
const hex = (bytes) => Buffer.from(bytes).toString("hex");
const failure = (promise) => promise.then(() => assert.fail("it did not fail"), (error) => error);

before(async () => {
  await db.batch(["DROP TABLE IF EXISTS item", "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE, data)"]);
});

test("a result has columns, rows and rows_affected, and nothing else", async () => {
  assert.deepEqual(await db.query("SELECT 1 AS a, 'x' AS b"), { columns: ["a", "b"], rows: [[1, "x"]], rows_affected: 0 });
  const made = await db.query("INSERT INTO item (name) VALUES (?) RETURNING name", ["made"]);
  assert.deepEqual(made, { columns: ["name"], rows: [["made"]], rows_affected: 1 });
  assert.equal(await db.execute("UPDATE item SET data = ? WHERE name = ?", [true, "made"]), 1);
  assert.equal(await db.execute("UPDATE item SET data = 1 WHERE name = 'nobody'"), 0);
});

for (const integers of ["number", "bigint", "string"]) {
  const exact = connect({ db: "app", integers });
  for (const vector of vectors) {
    test(`the node's ${vector.name} as ${integers}`, async () => {
      const expected = meant(vector, integers);
      const asked = exact.query(`SELECT ${vector.sql}`);
      if (expected instanceof Error) {
        const error = await failure(asked);
        assert.deepEqual([error.code, error.status, typeof error.hint], ["invalid", 400, "string"]);
      } else {
        assert.deepEqual((await asked).rows, [[expected]]);
      }
    });
  }
}

for (const vector of vectors.filter((one) => one.type !== "text" || one.hex === undefined)) {
  test(`the node is given ${vector.name}`, async () => {
    const value = meant(vector, "bigint");
    const [[same, type]] = (await db.query(`SELECT ?1 IS ${vector.sql}, typeof(?1)`, [value])).rows;
    const isWhole = vector.type === "real" && Number.isSafeInteger(value); // a number of JavaScript's does not say that it is a REAL
    assert.deepEqual([same, type], [1, isWhole ? "integer" : vector.type]);
  });
}

const others = [
  ["true", true, "integer", 1],
  ["false", false, "integer", 0],
  ["a small BigInt", 5n, "integer", 5],
  ["minus zero", -0, "real", -0],
  ["a whole number that is not exact", 2 ** 60, "real", 2 ** 60],
  ["NaN", Number.NaN, "null", null],
  ["a Date", new Date(1.7e12), "text", "2023-11-14T22:13:20.000Z"],
  ["a buffer", new Uint8Array([0, 255]).buffer, "blob", new Uint8Array([0, 255])],
];
for (const [name, value, type, back] of others) {
  test(`the node is given ${name}`, async () => {
    assert.deepEqual((await db.query("SELECT typeof(?1), ?1", [value])).rows, [[type, back]]);
  });
}

test("undefined is an error before anything is sent", async () => {
  const unreachable = connect({ db: "app", url: "http://127.0.0.1:1" });
  for (const ask of [unreachable.query("SELECT ?", [undefined]), unreachable.execute("SELECT ?", [undefined]), unreachable.batch([["SELECT ?", [undefined]]])]) {
    const error = await failure(ask);
    assert.deepEqual([error.code, error.message], ["invalid", "parameter 1 is undefined"]);
  }
});

test("an error says what SQLite and the node say", async () => {
  await db.execute("INSERT INTO item (name) VALUES ('twice')");
  const unique = await failure(db.execute("INSERT INTO item (name) VALUES (?)", ["twice"]));
  assert.deepEqual([unique.code, unique.status, unique.sqliteCode], ["sql_error", 400, "SQLITE_CONSTRAINT_UNIQUE"]);
  const syntax = await failure(db.query("SELEC 1"));
  assert.deepEqual([syntax.code, syntax.sqliteCode, "getResponse" in syntax], ["sql_error", "SQLITE_ERROR", false]);
  assert.equal((await failure(db.query("SELECT ?", [1, 2]))).code, "invalid");
  assert.equal((await failure(connect({ db: "nowhere" }).query("SELECT 1"))).code, "not_found");
  assert.equal((await failure(connect({ db: "../tokens" }).query("SELECT 1"))).code, "invalid");
  assert.equal((await failure(db.query("ATTACH 'x' AS y"))).code, "denied");
});

test("a batch is all of its statements, or none", async () => {
  const results = await db.batch(["INSERT INTO item (name) VALUES ('b1')", ["INSERT INTO item (name) VALUES (?)", ["b2"]], { sql: "SELECT name FROM item WHERE name IN (?, 'b2') ORDER BY name", params: ["b1"] }]);
  assert.deepEqual(results.map((one) => one.rows), [[], [], [["b1"], ["b2"]]]);
  const error = await failure(db.batch(["INSERT INTO item (name) VALUES ('b3')", "INSERT INTO item (name) VALUES ('b1')"]));
  assert.equal(error.sqliteCode, "SQLITE_CONSTRAINT_UNIQUE");
  assert.deepEqual((await db.query("SELECT count(*) FROM item WHERE name = 'b3'")).rows, [[0]]);
  assert.deepEqual(await db.batch([]), []);
});

test("a transaction is committed when its work returns", async () => {
  const found = await db.transaction(async (tx) => {
    await tx.execute("INSERT INTO item (name, data) VALUES (?, ?)", ["t1", new Uint8Array([1, 2])]);
    const [[seen]] = (await tx.query("SELECT data FROM item WHERE name = 't1'")).rows;
    await tx.batch(["INSERT INTO item (name) VALUES ('t2')", ["INSERT INTO item (name) VALUES (?)", ["t3"]]]);
    return hex(seen);
  });
  assert.equal(found, "0102");
  assert.deepEqual((await db.query("SELECT count(*) FROM item WHERE name IN ('t1', 't2', 't3')")).rows, [[3]]);
});

test("a transaction is taken back when its work throws, and the next one goes on", async () => {
  const own = new Error("mine");
  const error = await failure(db.transaction(async (tx) => {
    await tx.execute("INSERT INTO item (name) VALUES ('gone')");
    throw own;
  }));
  assert.equal(error, own);
  await db.transaction((tx) => tx.execute("INSERT INTO item (name) VALUES ('after')"));
  assert.deepEqual((await db.query("SELECT name FROM item WHERE name IN ('gone', 'after')")).rows, [["after"]]);
});

test("an error of one statement leaves its transaction open", async () => {
  await db.transaction(async (tx) => {
    await tx.execute("INSERT INTO item (name) VALUES ('kept')");
    const error = await failure(tx.batch(["INSERT INTO item (name) VALUES ('half')", "INSERT INTO item (name) VALUES ('kept')"]));
    assert.equal(error.sqliteCode, "SQLITE_CONSTRAINT_UNIQUE");
    await tx.execute("INSERT INTO item (name) VALUES ('kept too')");
  });
  assert.deepEqual((await db.query("SELECT name FROM item WHERE name LIKE 'kept%' OR name = 'half' ORDER BY name")).rows, [["kept"], ["kept too"]]);
});

test("calls of a transaction made at the same time wait for each other", async () => {
  const results = await db.transaction((tx) => Promise.all(Array.from({ length: 5 }, (_, at) => tx.query("SELECT ?", [at]))));
  assert.deepEqual(results.map((one) => one.rows[0][0]), [0, 1, 2, 3, 4]);
});

test("transactions of one node wait for each other: nothing is lost", async () => {
  await db.execute("INSERT INTO item (name, data) VALUES ('count', 0)");
  const add = () => db.transaction(async (tx) => {
    const [[count]] = (await tx.query("SELECT data FROM item WHERE name = 'count'")).rows;
    await tx.execute("UPDATE item SET data = ? WHERE name = 'count'", [count + 1]);
  });
  await Promise.all(Array.from({ length: 8 }, add));
  assert.deepEqual((await db.query("SELECT data FROM item WHERE name = 'count'")).rows, [[8]]);
});

test("a transaction that only reads refuses to write, and sees one state", async () => {
  await db.transaction(async (tx) => {
    const before = (await tx.query("SELECT count(*) FROM item")).rows;
    await db.execute("INSERT INTO item (name) VALUES ('meanwhile')");
    assert.deepEqual((await tx.query("SELECT count(*) FROM item")).rows, before);
    assert.equal((await failure(tx.execute("DELETE FROM item"))).code, "denied");
  }, { readOnly: true });
});

test("what is over is over", async () => {
  let kept;
  await db.transaction(async (tx) => void (kept = tx));
  assert.match((await failure(kept.query("SELECT 1"))).message, /over/);
});

test("integers in a transaction and in a batch are as they were asked for", async () => {
  const big = connect({ db: "app", integers: "bigint" });
  const sql = "SELECT 1, 2.0, 9223372036854775807";
  const expected = [[1n, 2, 9223372036854775807n]];
  assert.deepEqual((await big.batch([sql]))[0].rows, expected);
  assert.deepEqual((await big.transaction((tx) => tx.query(sql))).rows, expected);
  assert.equal(await big.execute("UPDATE item SET data = data WHERE name = 'made'"), 1);
});

test("a session sees what another one wrote, by its bookmark", async () => {
  const writer = db.session();
  assert.equal(writer.bookmark, null);
  await writer.execute("INSERT INTO item (name) VALUES ('seen')");
  assert.match(writer.bookmark, /^main\./);
  const reader = db.session(writer.bookmark);
  assert.deepEqual((await reader.query("SELECT name FROM item WHERE name = 'seen'")).rows, [["seen"]]);
  assert.ok(reader.bookmark >= writer.bookmark);
  await writer.transaction((tx) => tx.execute("DELETE FROM item WHERE name = 'seen'"));
  assert.ok(writer.bookmark > reader.bookmark);
});

test("a bookmark that a program gives and the database does not know is an error", async () => {
  assert.equal((await failure(db.session("main.00000001.00000000ffffffff.00000000").query("SELECT 1"))).code, "invalid");
  assert.throws(() => db.session("a b\n"), /not a bookmark/);
});

test("a PRAGMA is done, and carries no key", async () => {
  await db.execute("PRAGMA user_version = 7");
  assert.deepEqual((await db.query("PRAGMA user_version")).rows, [[7]]);
});

test("an address that is none is said before anything is sent", async () => {
  for (const url of ["ftp://x", "http://user:secret@host", "localhost:8080", ""]) {
    const error = await failure(connect({ db: "app", url }).query("SELECT 1"));
    assert.equal(error.code, "invalid");
    assert.doesNotMatch(error.message + error.hint, /secret/);
  }
  assert.equal((await failure(connect({ db: "app", token: "a b" }).query("SELECT 1"))).code, "denied");
  assert.equal((await failure(connect().query("SELECT 1"))).message, "no database is named");
  assert.equal((await failure(virke({ db: () => "app" }).Bindings.db.query("SELECT 1"))).code, "invalid");
});

test("Conflict is a class that programs can name", () => assert.equal(new Conflict("conflict", "x").status, 409));

test("writes whose answers are lost are done once, and answered as the first time", async (t) => {
  const real = globalThis.fetch;
  const drops = [2, 1, 3, 1];
  let left = 0;
  t.mock.method(globalThis, "fetch", async (...asked) => {
    const answer = await real(...asked);
    if (left-- <= 0) return answer;
    await answer.arrayBuffer(); // it was carried out
    throw Object.assign(new TypeError("fetch failed"), { cause: Object.assign(new Error("reset"), { code: "ECONNRESET" }) });
  });
  const ids = [];
  for (const drop of drops) {
    left = drop;
    const { rows } = await db.query("INSERT INTO item (data) VALUES ('once') RETURNING id");
    ids.push(rows[0][0]);
  }
  left = 2;
  const batch = await db.batch(["INSERT INTO item (data) VALUES ('once')", "INSERT INTO item (data) VALUES ('once') RETURNING id"]);
  left = 0;
  assert.equal(new Set(ids).size, drops.length);
  assert.equal(batch[1].rows.length, 1);
  assert.deepEqual((await db.query("SELECT count(*) FROM item WHERE data = 'once'")).rows, [[drops.length + 2]]);
});

test("a transaction of which an answer is lost leaves nothing", async (t) => {
  const real = globalThis.fetch;
  let drop = 0;
  t.mock.method(globalThis, "fetch", async (...asked) => {
    const answer = await real(...asked);
    if (--drop !== 0) return answer;
    await answer.arrayBuffer();
    throw Object.assign(new TypeError("fetch failed"), { cause: Object.assign(new Error("reset"), { code: "ECONNRESET" }) });
  });
  drop = 2; // begin is answered, the statement is not
  const error = await failure(db.transaction((tx) => tx.execute("INSERT INTO item (data) VALUES ('lost')")));
  assert.equal(error.code, "unavailable");
  assert.deepEqual((await db.query("SELECT count(*) FROM item WHERE data = 'lost'")).rows, [[0]]);
});
