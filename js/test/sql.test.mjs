import assert from "node:assert/strict";
import { test } from "node:test";
import { mayHaveWritten, readsOnly, split, takesKey } from "../dist/sql.js";

const reads = [
  "SELECT 1",
  "  select 1",
  "-- INSERT\nSELECT 1",
  "/* UPDATE */ /* x */ ; VALUES (1)",
  "\uFEFFEXPLAIN QUERY PLAN DELETE FROM t",
  "WITH a AS (SELECT 1) SELECT * FROM a",
  "WITH a(x) AS (VALUES (1)), \"DELETE\" AS (SELECT ')') SELECT * FROM a",
];
const writes = [
  "INSERT INTO t VALUES (1)",
  "/* SELECT */ DELETE FROM t",
  "WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a",
  "with a as (select ')') -- select\n update t set x = 1",
  "WITH a AS (SELECT 1 /* unfinished",
  "PRAGMA user_version",
  "CREATE TABLE SELECTED (n)",
  "SELECTED",
  "",
  "/* unfinished SELECT",
];
for (const sql of reads) test(`only reads: ${sql}`, () => assert.equal(readsOnly(sql), true));
for (const sql of writes) test(`may write: ${sql}`, () => assert.equal(readsOnly(sql), false));

test("a PRAGMA and VACUUM carry no key", () => {
  assert.deepEqual(["PRAGMA user_version = 3", " vacuum", "INSERT INTO t VALUES (1)"].map(takesKey), [false, false, true]);
});

test("a PRAGMA that only asks has not written", () => {
  assert.deepEqual(["PRAGMA user_version", "PRAGMA user_version = 3", "SELECT 1", "DELETE FROM t"].map(mayHaveWritten), [false, true, false, true]);
});

const trigger = "CREATE TEMP TRIGGER r AFTER INSERT ON t BEGIN SELECT CASE WHEN 1 THEN 2 END; DELETE FROM u; END";
const scripts = [
  ["", []],
  [" ; -- nothing\n;", []],
  ["SELECT 1", ["SELECT 1"]],
  ["SELECT ';'; SELECT 2;", ["SELECT ';';", "SELECT 2;"]],
  ["CREATE TABLE t (\n n -- ;\n);\nSELECT 1 /* ; */", ["CREATE TABLE t (\n n -- ;\n);", "SELECT 1 /* ; */"]],
  [`${trigger}; SELECT 1`, [`${trigger};`, "SELECT 1"]],
  ["SELECT 'never closed; SELECT 2", ["SELECT 'never closed;", "SELECT 2"]],
];
for (const [script, statements] of scripts) test(`split: ${script}`, () => assert.deepEqual(split(script), statements));
