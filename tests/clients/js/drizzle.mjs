// Drizzle ORM over @libsql/client: `node drizzle.mjs URL`; writes migrations into its folder.
import { mkdirSync, writeFileSync } from "node:fs";
import { createClient } from "@libsql/client";
import { and, count, desc, eq, relations, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/libsql";
import { migrate } from "drizzle-orm/libsql/migrator";
import { blob, integer, real, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { check, print } from "./report.mjs";

const users = sqliteTable("users", {
  id: integer().primaryKey(),
  name: text().notNull().unique(),
  meta: text({ mode: "json" }),
  isOn: integer("is_on", { mode: "boolean" }).default(true),
  born: integer({ mode: "timestamp" }),
  big: blob({ mode: "bigint" }),
  score: real(),
});
const posts = sqliteTable("posts", {
  id: integer().primaryKey({ autoIncrement: true }),
  user: integer().references(() => users.id, { onDelete: "cascade" }),
  body: text().notNull(),
});
const usersRelations = relations(users, ({ many }) => ({ posts: many(posts) }));
const postsRelations = relations(posts, ({ one }) => ({ author: one(users, { fields: [posts.user], references: [users.id] }) }));

const client = createClient({ url: process.argv[2] });
const db = drizzle(client, { schema: { users, posts, usersRelations, postsRelations } });

const first = `CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, meta TEXT, is_on INTEGER DEFAULT 1, born INTEGER, big BLOB, score REAL);
--> statement-breakpoint
CREATE TABLE posts (id INTEGER PRIMARY KEY AUTOINCREMENT, user INTEGER REFERENCES users (id) ON DELETE CASCADE, body TEXT NOT NULL);`;
const second = "CREATE INDEX posts_user ON posts (user);\n--> statement-breakpoint\nALTER TABLE posts ADD COLUMN likes INTEGER DEFAULT 0;";
function writeMigrations(texts) {
  mkdirSync("migrations/meta", { recursive: true });
  const entries = texts.map((one, idx) => ({ idx, version: "6", when: 1700000000000 + idx, tag: `000${idx}`, breakpoints: true }));
  writeFileSync("migrations/meta/_journal.json", JSON.stringify({ version: "7", dialect: "sqlite", entries }));
  texts.forEach((one, idx) => writeFileSync(`migrations/000${idx}.sql`, one));
}
const applied = async () => (await client.execute("SELECT hash, created_at FROM __drizzle_migrations ORDER BY created_at")).rows.map((row) => Array.from(row));

await check("migrate", async () => {
  writeMigrations([first]);
  await migrate(db, { migrationsFolder: "migrations" });
  return applied();
});
await check("migrate further", async () => {
  writeMigrations([first, second]);
  await migrate(db, { migrationsFolder: "migrations" });
  await migrate(db, { migrationsFolder: "migrations" });
  return applied();
});
await check("refused: a broken migration", async () => {
  writeMigrations([first, second, "CREATE TABLE broken (n);\n--> statement-breakpoint\nINSERT INTO nope VALUES (1);"]);
  await migrate(db, { migrationsFolder: "migrations" });
});
await check("nothing of it is there", async () => [await applied(), (await client.execute("SELECT count(*) AS n FROM sqlite_schema WHERE name = 'broken'")).rows[0].n]);

await check("insert returning", () => db.insert(users).values([{ name: "ann", meta: { a: [1] }, born: new Date(1e12), big: 12345678901234567890n, score: 0.5 }, { name: "bob", isOn: false }]).returning());
await check("insert", () => db.insert(posts).values([{ user: 1, body: "one" }, { user: 1, body: "two" }, { user: 2, body: "three" }]));
await check("select", () => db.select().from(users).where(eq(users.name, "ann")));
await check("join, order, limit", () => db.select({ name: users.name, body: posts.body }).from(posts).innerJoin(users, eq(posts.user, users.id)).orderBy(desc(posts.id)).limit(2));
await check("group", () => db.select({ user: posts.user, n: count() }).from(posts).groupBy(posts.user));
await check("relations", () => db.query.users.findMany({ with: { posts: { columns: { body: true } } } }));
await check("relation of one", () => db.query.posts.findFirst({ where: eq(posts.body, "three"), with: { author: true } }));
await check("update", () => db.update(users).set({ score: sql`coalesce(score, 0) + 1` }).where(and(eq(users.isOn, true))).returning({ id: users.id, score: users.score }));
await check("upsert", () => db.insert(users).values({ id: 1, name: "ann" }).onConflictDoUpdate({ target: users.id, set: { name: "eve" } }).returning({ name: users.name }));
await check("nothing on conflict", () => db.insert(users).values({ name: "eve" }).onConflictDoNothing().returning());
await check("refused: unique", () => db.insert(users).values({ name: "eve" }));
await check("refused: foreign key", () => db.insert(posts).values({ user: 99, body: "x" }));
await check("prepared", async () => {
  const one = db.select().from(users).where(eq(users.id, sql.placeholder("id"))).prepare();
  return [await one.execute({ id: 2 }), await one.get({ id: 1 }), await one.values({ id: 2 })];
});
await check("transaction", () =>
  db.transaction(async (tx) => {
    await tx.insert(users).values({ name: "tx" });
    return tx.select({ n: count() }).from(users);
  }),
);
await check("refused: transaction, rolled back", () =>
  db.transaction(async (tx) => {
    await tx.insert(users).values({ name: "no" });
    tx.rollback();
  }),
);
await check("transaction inside a transaction", () =>
  db.transaction(async (tx) => {
    await tx.insert(users).values({ name: "outer" });
    await tx.transaction(async (inner) => { await inner.insert(users).values({ name: "inner" }); inner.rollback(); }).catch(() => {});
    return tx.select({ name: users.name }).from(users);
  }),
);
await check("after the transactions", () => db.select({ id: users.id, name: users.name }).from(users));
await check("batch", () => db.batch([db.insert(users).values({ name: "b1" }).returning({ id: users.id }), db.select({ n: count() }).from(users), db.update(posts).set({ body: "x" }).where(eq(posts.id, 1)), db.query.users.findFirst()]));
await check("refused: batch that breaks", () => db.batch([db.insert(users).values({ name: "b2" }), db.insert(users).values({ name: "b1" })]));
await check("delete with cascade", async () => [await db.delete(users).where(eq(users.id, 1)).returning({ id: users.id }), await db.select().from(posts)]);
await check("run, all, get, values", async () => [await db.run(sql`UPDATE users SET score = 1`), await db.all(sql`SELECT id FROM users`), await db.get(sql`SELECT max(id) AS m FROM users`), await db.values(sql`SELECT id, name FROM users LIMIT 1`)]);
client.close();
print();
