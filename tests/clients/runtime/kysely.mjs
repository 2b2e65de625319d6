// kysely-d1.
import { Kysely, sql } from "kysely";
import { D1Dialect } from "kysely-d1";
import { binding } from "./binding.mjs";
import { check, print } from "./report.mjs";

const { DB, close } = await binding();
const db = new Kysely({ dialect: new D1Dialect({ database: DB }) });

await check("schema", async () => {
  await db.schema.createTable("ky").addColumn("id", "integer", (column) => column.primaryKey().autoIncrement()).addColumn("n", "text", (column) => column.notNull()).addColumn("b", "blob").execute();
  await db.schema.createIndex("ky_n").unique().on("ky").column("n").execute();
  await db.schema.alterTable("ky").addColumn("v", "real").execute();
});
await check("insert", () => db.insertInto("ky").values({ n: "a", v: 1.5 }).executeTakeFirst());
await check("insert blob", () => db.insertInto("ky").values({ n: "blob", b: new Uint8Array([1, 0, 255]) }).executeTakeFirst());
await check("insert many", () => db.insertInto("ky").values([{ n: "b" }, { n: "c" }]).execute());
await check("insert returning", () => db.insertInto("ky").values({ n: "d" }).returningAll().executeTakeFirst());
await check("select", () => db.selectFrom("ky").selectAll().orderBy("id").execute());
await check("where", () => db.selectFrom("ky").select(["id", "n"]).where("n", "in", ["a", "b"]).orderBy("n", "desc").execute());
await check("aggregate", () => db.selectFrom("ky").select(({ fn }) => [fn.countAll().as("n"), fn.max("id").as("most")]).executeTakeFirst());
await check("update", () => db.updateTable("ky").set({ v: 2 }).where("id", ">", 2).executeTakeFirst());
await check("update returning", () => db.updateTable("ky").set((eb) => ({ v: eb("v", "+", 1) })).where("id", "=", 1).returning("v").execute());
await check("upsert", () => db.insertInto("ky").values({ n: "a" }).onConflict((on) => on.column("n").doUpdateSet({ v: 9 })).returningAll().execute());
await check("delete", () => db.deleteFrom("ky").where("n", "=", "d").executeTakeFirst());
await check("refused: unique", () => db.insertInto("ky").values({ n: "a" }).execute());
await check("refused: transaction", () => db.transaction().execute((tx) => tx.deleteFrom("ky").execute()));
await check("raw", async () => (await sql`SELECT ${1} + ${2} AS three`.execute(db)).rows);
await db.destroy();
await close();
print();
