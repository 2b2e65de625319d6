// Prisma's adapter for D1, as Prisma's engine calls it.
import { PrismaD1 } from "@prisma/adapter-d1";
import { binding } from "./binding.mjs";
import { check, print } from "./report.mjs";

console.error = () => undefined; // it prints each error that it throws
const { DB, close } = await binding();
const adapter = await new PrismaD1(DB).connect();
const scalar = (scalarType) => ({ scalarType, arity: "scalar" });
const query = (sql, args = [], argTypes = []) => ({ sql, args, argTypes });

await check("provider", () => [adapter.provider, adapter.adapterName, adapter.getConnectionInfo()]);
await check("script", () => adapter.executeScript('CREATE TABLE "User" ("id" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, "email" TEXT NOT NULL, "at" DATETIME, "blob" BLOB, "big" BIGINT, "ok" BOOLEAN, "price" REAL);\nCREATE UNIQUE INDEX "User_email_key" ON "User" ("email");'));
await check("insert", () =>
  adapter.executeRaw(
    query('INSERT INTO "User" ("email", "at", "blob", "big", "ok", "price") VALUES (?, ?, ?, ?, ?, ?)', ["a@x", "2026-01-02T03:04:05.678Z", "AP8=", "9007199254740991", true, 0.25], ["string", "datetime", "bytes", "bigint", "boolean", "float"].map(scalar)),
  ),
);
await check("insert returning", () => adapter.queryRaw(query('INSERT INTO "User" ("email") VALUES (?) RETURNING "id", "email"', ["b@x"], [scalar("string")])));
await check("select", () => adapter.queryRaw(query('SELECT * FROM "User" ORDER BY "id"')));
await check("select nothing", () => adapter.queryRaw(query('SELECT * FROM "User" WHERE "id" = ?', [99], [scalar("int")])));
await check("update", () => adapter.executeRaw(query('UPDATE "User" SET "ok" = ? WHERE 1 = 1', [false], [scalar("boolean")])));
await check("refused: unique", () => adapter.executeRaw(query('INSERT INTO "User" ("email") VALUES (?)', ["a@x"], [scalar("string")])));
await check("refused: not null", () => adapter.executeRaw(query('INSERT INTO "User" ("email") VALUES (NULL)')));
await check("refused: no such table", () => adapter.queryRaw(query("SELECT * FROM nope")));
await check("refused: no such column", () => adapter.queryRaw(query('SELECT nope FROM "User"')));
await adapter.dispose();
await close();
print();
