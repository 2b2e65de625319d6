// @libsql/client: `node libsql.mjs URL`, with http: or ws:.
import { createClient } from "@libsql/client";
import { caught, check, print, shown } from "./report.mjs";

const url = process.argv[2];
const client = createClient({ url, intMode: "bigint" });

// A result whole: the rows by their places and by their names.
function whole(result) {
  const { columns, columnTypes, rowsAffected, lastInsertRowid } = result;
  const rows = result.rows.map((row) => ({ places: Array.from(row), names: { ...row } }));
  return { columns, columnTypes, rows, rowsAffected, lastInsertRowid, json: result.toJSON() };
}
const run = async (sql, args = []) => whole(await client.execute({ sql, args }));
const count = async () => shown((await client.execute("SELECT count(*) FROM t")).rows[0][0]);

await check("executeMultiple", () =>
  client.executeMultiple(
    "DROP TABLE IF EXISTS t; CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT UNIQUE, c BLOB, d REAL); -- end\n;",
  ),
);
await check("insert", () => run("INSERT INTO t (b, c, d) VALUES (?, ?, ?)", ["x", new Uint8Array([0, 255, 1]), 1.5]));
await check("select", () => run("SELECT * FROM t"));
await check("select of nothing", () => run("SELECT * FROM t WHERE a < 0"));
await check("columns without a type", () => run("SELECT a + 1, b AS \"two words\", b FROM t"));
await check("largest integer", () => run("SELECT ?, ?", [9223372036854775807n, -9223372036854775808n]));
await check("blobs", () => run("SELECT ?, ?, x''", [new Uint8Array([0, 255]), new Uint8Array([])]));
await check("reals", () => run("SELECT 0.1, -0.0, 1e100, 5e-324"));
await check("refused: a real that is not finite", () => run("SELECT 1e308 * 10"));
await check("null and booleans", () => run("SELECT ?, ?, ?", [null, true, false]));
await check("numbers are reals", () => run("SELECT typeof(?), ?", [1, 1]));
await check("dates", () => run("SELECT ?", [new Date(86400000)]));
await check("text of all kinds", () => run("SELECT ?, ?, ?", ["", "gr\u00fc\u00df \u{1f600}", "a\"b'c\\d\n"]));
await check("text with a zero", () => run("SELECT length(?), ?", ["a\u0000b", "a\u0000b"]));
await check("named arguments", () => run("SELECT :a AS x, @b AS y, $c AS z", { a: 1n, b: "two", c: null }));
await check("named arguments with their signs", () => run("SELECT :a, @b, $c", { ":a": 1n, "@b": 2n, $c: 3n }));
await check("numbered arguments", () => run("SELECT ?2, ?1", [1n, 2n]));
await check("refused: too few arguments", () => run("SELECT ?, ?", [1n]));
await check("refused: too many arguments", () => run("SELECT ?", [1n, 2n]));
await check("comments and a semicolon", () => run("\n -- hi\n SELECT /* one */ 1 AS a ;\n "));
await check("refused: two statements", () => run("SELECT 1; SELECT 2"));
await check("refused: no statement", () => run("-- nothing"));
await check("refused: syntax", () => run("SELEKT 1"));
await check("refused: syntax further on", () => run("SELECT 1 FROM WHERE"));
await check("refused: no such table", () => run("SELECT * FROM nope"));
await check("refused: no such column", () => run("SELECT nope FROM t"));
await check("refused: unique", () => run("INSERT INTO t (b) VALUES ('x')"));
await check("refused: primary key", () => run("INSERT INTO t (a) VALUES (1)"));
await check("returning", () => run("INSERT INTO t (b) VALUES ('r') RETURNING a, b"));
await check("update", () => run("UPDATE t SET d = 2.5"));
await check("update of nothing", () => run("UPDATE t SET d = 2.5 WHERE a < 0"));
await check("delete", () => run("DELETE FROM t WHERE b = 'r'"));
await check("replace", () => run("REPLACE INTO t (a, b) VALUES (1, 'x')"));
await check("upsert", () => run("INSERT INTO t (a, b) VALUES (1, 'q') ON CONFLICT (a) DO UPDATE SET b = 'x' RETURNING b"));
await check("with", () => run("WITH n(v) AS (VALUES (1), (2)) SELECT sum(v) FROM n"));
await check("insert with", () => run("WITH n(v) AS (VALUES ('w1'), ('w2')) INSERT INTO t (b) SELECT v FROM n"));
await check("explain query plan", () => run("EXPLAIN QUERY PLAN SELECT * FROM t WHERE b = 'x'"));
await check("json", () => run("SELECT json_extract('{\"a\": [1, 2]}', '$.a[1]'), json_array(1, 'b')"));
await check("full text", async () => {
  await client.executeMultiple("CREATE VIRTUAL TABLE ft USING fts5(body); INSERT INTO ft VALUES ('a cat'), ('a dog')");
  return run("SELECT body FROM ft WHERE ft MATCH 'cat'");
});
await check("views and triggers", async () => {
  await client.executeMultiple(
    "CREATE VIEW v AS SELECT b FROM t; CREATE TABLE log (n); CREATE TRIGGER tr AFTER INSERT ON t BEGIN INSERT INTO log VALUES (new.a); END;",
  );
  return [await run("INSERT INTO t (b) VALUES ('tr')"), await run("SELECT * FROM log"), await run("SELECT * FROM v")];
});
await check("generated columns and strict tables", async () => {
  await client.execute("CREATE TABLE g (a INTEGER, b INTEGER AS (a * 2) STORED, c TEXT) STRICT");
  return [await run("INSERT INTO g (a) VALUES (4) RETURNING *"), await caught(() => run("INSERT INTO g (a) VALUES ('x')"))];
});
await check("pragma table_info", () => run("PRAGMA table_info(t)"));
await check("pragma index_list", () => run("PRAGMA index_list(t)"));
await check("pragma foreign_key_list", () => run("PRAGMA foreign_key_list(t)"));
await check("table-valued pragma", () => run("SELECT name, type FROM pragma_table_info('t')"));
await check("sqlite_schema", () => run("SELECT type, name, sql FROM sqlite_schema WHERE name = 't'"));
await check("foreign keys are on", () => run("PRAGMA foreign_keys"));
await check("refused: broken foreign key", async () => {
  await client.executeMultiple("CREATE TABLE parent (id INTEGER PRIMARY KEY); CREATE TABLE child (p REFERENCES parent)");
  return run("INSERT INTO child VALUES (9)");
});

await check("batch", async () =>
  (await client.batch(["INSERT INTO t (b) VALUES ('y')", { sql: "SELECT count(*) FROM t WHERE b = ?", args: ["y"] }], "write")).map(whole),
);
await check("batch of nothing", async () => (await client.batch([], "write")).map(whole));
await check("batch of a reader", async () => (await client.batch(["SELECT count(*) AS n FROM t"], "read")).map(whole));
await check("batch of tuples", async () => (await client.batch([["SELECT ?", [5n]], ["SELECT :v", { v: 6n }]])).map(whole));
await check("refused: batch with a broken statement", () =>
  client.batch(["INSERT INTO t (b) VALUES ('gone')", "INSERT INTO t (b) VALUES ('y')"], "write"),
);
await check("nothing of it is there", () => run("SELECT count(*) FROM t WHERE b = 'gone'"));
await check("refused: batch with bad syntax", () => client.batch(["INSERT INTO t (b) VALUES ('gone')", "SELEKT"], "write"));
await check("nothing of it is there either", () => run("SELECT count(*) FROM t WHERE b = 'gone'"));
await check("refused: a reader's batch that writes", async () => (await client.batch(["INSERT INTO log VALUES ('ro')"], "read")).map(whole));

await check("transaction, rolled back", async () => {
  const before = await count();
  const tx = await client.transaction("write");
  const inside = whole(await tx.execute("INSERT INTO t (b) VALUES ('t1')"));
  await tx.rollback();
  return [before, inside, tx.closed, await count()];
});
await check("transaction, committed", async () => {
  const tx = await client.transaction("write");
  await tx.batch(["INSERT INTO t (b) VALUES ('t2')", "INSERT INTO t (b) VALUES ('t3')"]);
  await tx.executeMultiple("INSERT INTO t (b) VALUES ('t4'); INSERT INTO t (b) VALUES ('t5')");
  await tx.commit();
  return [tx.closed, await count()];
});
await check("transaction, closed", async () => {
  const tx = await client.transaction("write");
  await tx.execute("DELETE FROM t");
  tx.close();
  return count();
});
await check("deferred transaction", async () => {
  const tx = await client.transaction("deferred");
  const found = whole(await tx.execute("SELECT count(*) FROM t"));
  await tx.execute("INSERT INTO t (b) VALUES ('d')");
  await tx.commit();
  return [found, await count()];
});
await check("a reader's transaction that writes", async () => {
  const tx = await client.transaction("read");
  const found = [whole(await tx.execute("SELECT count(*) FROM t")), await caught(async () => whole(await tx.execute("INSERT INTO log VALUES ('ro')")))];
  tx.close();
  return found;
});
await check("an error leaves a transaction open", async () => {
  const tx = await client.transaction("write");
  await tx.execute("INSERT INTO t (b) VALUES ('e1')");
  const error = await caught(() => tx.execute("INSERT INTO t (b) VALUES ('e1')"));
  await tx.execute("INSERT INTO t (b) VALUES ('e2')");
  await tx.commit();
  return [error, await run("SELECT b FROM t WHERE b LIKE 'e_' ORDER BY b")];
});
await check("refused: a transaction that is over", async () => {
  const tx = await client.transaction("write");
  await tx.commit();
  return tx.execute("SELECT 1");
});
await check("two writing transactions take turns", async () => {
  const one = await client.transaction("write");
  await one.execute("INSERT INTO t (b) VALUES ('one')");
  const second = client.transaction("write").then(async (tx) => {
    const found = whole(await tx.execute("SELECT count(*) FROM t WHERE b = 'one'"));
    await tx.commit();
    return found;
  });
  await one.commit();
  return second;
});
await check("savepoints in a transaction", async () => {
  const tx = await client.transaction("write");
  await tx.execute("SAVEPOINT s");
  await tx.execute("INSERT INTO t (b) VALUES ('s')");
  await tx.execute("ROLLBACK TO s");
  await tx.execute("RELEASE s");
  await tx.commit();
  return run("SELECT count(*) FROM t WHERE b = 's'");
});
await check("migrate", async () => {
  const found = await client.migrate(["ALTER TABLE t ADD COLUMN e INTEGER", "UPDATE t SET e = 1", "CREATE INDEX i ON t (e)"]);
  return [found.map(whole), await run("PRAGMA foreign_keys"), await run("SELECT sum(e) FROM t")];
});
await check("many rows", async () => {
  const found = await client.execute("WITH RECURSIVE n(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n WHERE v < 5000) SELECT v, hex(v) FROM n");
  return [found.rows.length, Array.from(found.rows[4999])];
});
await check("many statements at once", async () => {
  const found = await Promise.all(Array.from({ length: 40 }, (_, n) => client.execute({ sql: "INSERT INTO log VALUES (?) RETURNING n", args: [BigInt(n)] })));
  return found.map((one) => one.rows[0][0]).sort();
});
await check("alter column", async () => {
  await client.execute("CREATE TABLE ac (a INTEGER PRIMARY KEY, body TEXT)");
  await client.execute("INSERT INTO ac (body) VALUES ('before')");
  const found = await run("ALTER TABLE ac ALTER COLUMN body TO body TEXT NOT NULL DEFAULT 'y'");
  return [found, await run("INSERT INTO ac (a) VALUES (NULL) RETURNING body"), await caught(() => run("INSERT INTO ac (body) VALUES (NULL)"))];
});
await check("refused: alter column to what it can't become", () => client.execute("ALTER TABLE ac ALTER COLUMN body TO body TEXT UNIQUE"));
await check("refused: alter column that rows contradict", () => client.execute("ALTER TABLE ac ALTER COLUMN body TO body TEXT CHECK (body <> 'y')"));
await check("refused: alter column and rename it", () => client.execute("ALTER TABLE ac ALTER COLUMN body TO text TEXT"));
await check("alter column in a batch", async () => (await client.batch(["ALTER TABLE ac ALTER COLUMN body TO body TEXT DEFAULT 'z'", "INSERT INTO ac (a) VALUES (NULL)", "SELECT * FROM ac"], "write")).map(whole));
await check("rename, drop column, drop table", () =>
  client.batch(["ALTER TABLE ac RENAME TO ad", "ALTER TABLE ad RENAME COLUMN body TO text", "ALTER TABLE ad DROP COLUMN text", "DROP TABLE ad"]).then((all) => all.map(whole)),
);
await check("last_insert_rowid() in a batch", async () =>
  (await client.batch(["INSERT INTO t (a) VALUES (77)", "SELECT last_insert_rowid(), changes()"], "write")).map(whole),
);
await check("refused: attach", () => run("ATTACH 'other.db' AS o"));
await check("refused: load_extension", () => run("SELECT load_extension('x')"));
await check("vacuum", () => caught(() => run("VACUUM")));
await check("temporary tables in a transaction", async () => {
  const tx = await client.transaction("write");
  const found = await caught(async () => {
    await tx.execute("CREATE TEMP TABLE tmp (n)");
    await tx.execute("INSERT INTO tmp VALUES (1)");
    return whole(await tx.execute("SELECT * FROM tmp"));
  });
  await tx.rollback();
  return found;
});
client.close();
await check("refused: a closed client", () => client.execute("SELECT 1"));
print();
