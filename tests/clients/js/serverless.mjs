// @tursodatabase/serverless, and its twin of @libsql/client: `node serverless.mjs URL`.
import { connect } from "@tursodatabase/serverless";
import { createClient } from "@tursodatabase/serverless/compat";
import { check, print } from "./report.mjs";

const url = process.argv[2];
const db = connect({ url, authToken: "none" });
const prepared = async (sql) => db.prepare(sql);

await check("exec", () => db.exec("DROP TABLE IF EXISTS s; CREATE TABLE s (a INTEGER PRIMARY KEY, b TEXT UNIQUE, c BLOB)"));
await check("run", async () => (await prepared("INSERT INTO s (b, c) VALUES (?, ?)")).run(["x", new Uint8Array([0, 255])]));
await check("run with names", async () => (await prepared("INSERT INTO s (b) VALUES (:b)")).run({ b: "named" }));
await check("get", async () => (await prepared("SELECT * FROM s WHERE a = ?")).get([1]));
await check("get of nothing", async () => (await prepared("SELECT * FROM s WHERE a = ?")).get([99]));
await check("all", async () => (await prepared("SELECT * FROM s ORDER BY a")).all());
await check("raw rows", async () => (await prepared("SELECT * FROM s ORDER BY a")).raw().all());
await check("pluck", async () => (await prepared("SELECT b FROM s ORDER BY a")).pluck().all());
await check("safe integers", async () => (await prepared("SELECT 9007199254740993 AS v")).safeIntegers(true).get());
await check("columns", async () => (await prepared("SELECT a, b AS named, a + 1 FROM s")).columns());
await check("iterate", async () => {
  const rows = [];
  for await (const row of (await prepared("SELECT a, b FROM s ORDER BY a")).iterate()) rows.push(row);
  return rows;
});
await check("iterate many", async () => {
  let sum = 0;
  const many = await prepared("WITH RECURSIVE n(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n WHERE v < 3000) SELECT v FROM n");
  for await (const row of many.iterate()) sum += row.v;
  return sum;
});
await check("run, get, all without preparing", async () => [await db.run("INSERT INTO s (b) VALUES (?)", "direct"), await db.get("SELECT a, b FROM s WHERE b = ?", "direct"), await db.all("SELECT b FROM s ORDER BY a")]);
await check("returning", () => db.all("INSERT INTO s (b) VALUES ('r') RETURNING a, b"));
await check("batch", () => db.batch(["INSERT INTO s (b) VALUES ('q')", "INSERT INTO s (b) VALUES ('w')"]));
await check("batch with a mode", () => db.batch(["INSERT INTO s (b) VALUES ('m')"], "immediate"));
await check("refused: batch with a broken statement", () => db.batch(["INSERT INTO s (b) VALUES ('gone')", "INSERT INTO s (b) VALUES ('q')"], "immediate"));
await check("after the broken batch", async () => (await prepared("SELECT count(*) AS n FROM s WHERE b = 'gone'")).get());
await check("transaction", () => db.transaction(async () => (await (await prepared("INSERT INTO s (b) VALUES ('t')")).run()).changes)());
await check("refused: transaction that throws", () =>
  db.transaction(async () => {
    await (await prepared("DELETE FROM s")).run();
    throw new Error("no");
  })(),
);
await check("after it", async () => (await prepared("SELECT count(*) AS n FROM s")).get());
await check("transaction of a kind", () => db.transaction(async () => (await prepared("SELECT count(*) AS n FROM s")).get()).immediate());
await check("transactionAsync", () => db.transactionAsync(async (tx) => (await tx.run("INSERT INTO s (b) VALUES ('async')")).changes)());
await check("pragma", () => db.pragma("table_info(s)"));
await check("refused: no such table", () => db.all("SELECT * FROM nope"));
await check("refused: syntax", async () => (await prepared("SELEKT")).all());
await check("refused: unique", async () => (await prepared("INSERT INTO s (b) VALUES ('x')")).run());
await db.close();

const compat = createClient({ url, authToken: "none" });
await check("compat: execute", async () => {
  const { columns, columnTypes, rows, rowsAffected, lastInsertRowid } = await compat.execute("SELECT count(*) AS n, 'x' AS x FROM s");
  return { columns, columnTypes, rows: rows.map((row) => Array.from(row)), rowsAffected, lastInsertRowid };
});
await check("compat: batch", async () => (await compat.batch(["INSERT INTO s (b) VALUES ('k')", "SELECT count(*) FROM s"], "write")).map((one) => [one.rowsAffected, one.lastInsertRowid, one.rows.length]));
await check("compat: executeMultiple", () => compat.executeMultiple("INSERT INTO s (b) VALUES ('k1'); INSERT INTO s (b) VALUES ('k2')"));
await check("refused: compat: no such table", () => compat.execute("SELECT * FROM nope"));
await check("compat: transaction", async () => {
  const tx = await compat.transaction("write");
  await tx.execute("INSERT INTO s (b) VALUES ('tx')");
  await tx.rollback();
  return (await compat.execute("SELECT count(*) AS n FROM s WHERE b = 'tx'")).rows[0].n;
});
compat.close();
print();
