// drizzle-orm/d1.
import { mkdirSync, writeFileSync } from "node:fs";
import { count, desc, eq, relations, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import { migrate } from "drizzle-orm/d1/migrator";
import { blob, integer, real, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { binding } from "./binding.mjs";
import { check, print } from "./report.mjs";

const users = sqliteTable("users", {
  id: integer().primaryKey(),
  name: text().notNull().unique(),
  meta: text({ mode: "json" }),
  isOn: integer("is_on", { mode: "boolean" }).default(true),
  born: integer({ mode: "timestamp" }),
  picture: blob({ mode: "buffer" }),
  score: real(),
});
const posts = sqliteTable("posts", { id: integer().primaryKey({ autoIncrement: true }), user: integer(), body: text().notNull() });
const schema = {
  users,
  posts,
  usersRelations: relations(users, ({ many }) => ({ posts: many(posts) })),
  postsRelations: relations(posts, ({ one }) => ({ author: one(users, { fields: [posts.user], references: [users.id] }) })),
};
const { DB, close } = await binding();
const db = drizzle(DB, { schema });

await check("migrate", async () => {
  mkdirSync("migrations/meta", { recursive: true });
  const entries = [{ idx: 0, version: "6", when: 1700000000000, tag: "0000", breakpoints: true }];
  writeFileSync("migrations/meta/_journal.json", JSON.stringify({ version: "7", dialect: "sqlite", entries }));
  writeFileSync("migrations/0000.sql", "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, meta TEXT, is_on INTEGER DEFAULT 1, born INTEGER, picture BLOB, score REAL);\n--> statement-breakpoint\nCREATE TABLE posts (id INTEGER PRIMARY KEY AUTOINCREMENT, user INTEGER, body TEXT NOT NULL);");
  await migrate(db, { migrationsFolder: "migrations" });
  await migrate(db, { migrationsFolder: "migrations" });
  return db.values(sql`SELECT count(*) FROM __drizzle_migrations`);
});
await check("insert returning", () => db.insert(users).values([{ name: "ann", meta: { a: [1] }, born: new Date(1e12), picture: new Uint8Array([0, 255]), score: 0.5 }, { name: "bob", isOn: false }]).returning());
await check("insert", async () => (await db.insert(posts).values([{ user: 1, body: "one" }, { user: 1, body: "two" }, { user: 2, body: "three" }])).meta.changes);
await check("select", () => db.select().from(users).where(eq(users.name, "ann")));
await check("join, order, limit", () => db.select({ name: users.name, body: posts.body }).from(posts).innerJoin(users, eq(posts.user, users.id)).orderBy(desc(posts.id)).limit(2));
await check("group", () => db.select({ user: posts.user, n: count() }).from(posts).groupBy(posts.user));
await check("relations", () => db.query.users.findMany({ with: { posts: { columns: { body: true } } } }));
await check("update", () => db.update(users).set({ score: sql`coalesce(score, 0) + 1` }).returning({ id: users.id, score: users.score }));
await check("upsert", () => db.insert(users).values({ id: 1, name: "ann" }).onConflictDoUpdate({ target: users.id, set: { name: "eve" } }).returning({ name: users.name }));
await check("refused: unique", () => db.insert(users).values({ name: "eve" }));
await check("prepared", async () => {
  const one = db.select().from(users).where(eq(users.id, sql.placeholder("id"))).prepare();
  return [await one.execute({ id: 2 }), await one.get({ id: 1 }), await one.values({ id: 2 })];
});
await check("batch", () => db.batch([db.insert(users).values({ name: "b1" }).returning({ id: users.id }), db.select({ n: count() }).from(users), db.query.users.findFirst()]));
await check("refused: batch that breaks", () => db.batch([db.insert(users).values({ name: "b2" }), db.insert(users).values({ name: "b1" })]));
await check("nothing of it is there", () => db.select({ n: count() }).from(users).where(eq(users.name, "b2")));
await check("all, get, values", async () => [await db.all(sql`SELECT id FROM users ORDER BY id`), await db.get(sql`SELECT max(id) AS m FROM users`), await db.values(sql`SELECT id, name FROM users ORDER BY id LIMIT 1`)]);
await close();
print();
