// drizzle-kit, the command: `node drizzle_kit.mjs URL`; push of a schema and of changes to it, pull.
import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { promisify } from "node:util";
import { createClient } from "@libsql/client";
import { check, print } from "./report.mjs";

const url = process.argv[2];
const client = createClient({ url });
const head = 'const { sqliteTable, integer, text, real, index, uniqueIndex } = require("drizzle-orm/sqlite-core");\n';
const first = `${head}
const users = sqliteTable("users", { id: integer().primaryKey({ autoIncrement: true }), name: text().notNull(), score: real() }, (t) => [uniqueIndex("users_name").on(t.name)]);
const posts = sqliteTable("posts", { id: integer().primaryKey(), user: integer().references(() => users.id), body: text(), kind: text() }, (t) => [index("posts_user").on(t.user)]);
module.exports = { users, posts };`;
const second = `${head}
const users = sqliteTable("users", { id: integer().primaryKey({ autoIncrement: true }), name: text().notNull(), score: real(), mail: text() }, (t) => [uniqueIndex("users_name").on(t.name)]);
const tags = sqliteTable("tags", { id: integer().primaryKey(), tag: text().notNull().default("none") });
const posts = sqliteTable("posts", { id: integer().primaryKey(), user: integer().references(() => users.id), body: text(), kind: text() }, (t) => [index("posts_user").on(t.user)]);
module.exports = { users, posts, tags };`;
const changed = second.replace("body: text()", 'body: text().default("y")').replace("kind: text()", 'kind: text().notNull().default("post")');

function configure(schema, filter = ["!virke_*"]) {
  writeFileSync("schema.cjs", schema);
  const config = { dialect: "turso", schema: "./schema.cjs", out: "./out", dbCredentials: { url }, tablesFilter: filter };
  writeFileSync("drizzle.config.cjs", `module.exports = ${JSON.stringify(config)};`);
}
async function kit(...words) {
  const { stdout, stderr } = await promisify(execFile)(process.execPath, ["node_modules/drizzle-kit/bin.cjs", ...words, "--config", "drizzle.config.cjs"], { timeout: 60000 });
  const said = (stdout + stderr).replace(/\x1b\[[0-9;]*m/g, "");
  if (/error/i.test(said)) throw new Error(said.split("\n").find((line) => /error/i.test(line)).trim());
}
const schema = async () => (await client.execute("SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'virke_%' ORDER BY name")).rows.map((row) => Array.from(row));
const own = async () => (await client.execute("SELECT name FROM sqlite_schema WHERE name LIKE 'virke_%' ORDER BY name")).rows.map((row) => row[0]);

mkdirSync("out", { recursive: true });
await check("push a schema", async () => {
  configure(first);
  await kit("push", "--force");
  return schema();
});
await check("rows", () => client.batch(["INSERT INTO users (name, score) VALUES ('ann', 1.5), ('bob', NULL)", "INSERT INTO posts VALUES (1, 1, 'one', 'a'), (2, 2, NULL, 'b')"]).then((all) => all.map((one) => one.rowsAffected)));
await check("push the same schema", async () => {
  await kit("push", "--force");
  return schema();
});
await check("push a column and a table", async () => {
  configure(second);
  await kit("push", "--force");
  return schema();
});
await check("pull", async () => {
  await kit("pull");
  return readFileSync("out/schema.ts", "utf8");
});
await check("push changed columns", async () => {
  configure(changed);
  await kit("push", "--force");
  await client.execute("INSERT INTO posts (id, user) VALUES (3, 1)");
  return [await schema(), (await client.execute("SELECT * FROM posts ORDER BY id")).rows.map((row) => Array.from(row))];
});
await check("rows are kept", async () => (await client.execute("SELECT * FROM users ORDER BY id")).rows.map((row) => Array.from(row)));
await check("refused: a column that must not be NULL where it is", () => client.execute("INSERT INTO posts (id, kind) VALUES (4, NULL)"));
await check("tables of Virke's own are left alone", own);
if (process.argv[3] === "own tables") {
  await check("refused: push without the filter", async () => {
    configure(changed, []);
    await kit("push", "--force");
  });
  await check("they are there", own);
}
client.close();
print();
