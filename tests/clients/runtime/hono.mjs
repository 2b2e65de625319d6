// What the middleware does in a Hono program that nothing serves: `node hono.mjs URL`.
import { Hono } from "hono";
import { virke } from "@virke/runtime/hono";

const answers = {};
async function check(name, response) {
  const { status, headers } = await response;
  answers[name] = { status, cookie: headers.get("set-cookie"), body: await (await response).text() };
}
function program(options) {
  const { middleware, Bindings } = virke({ db: "my-app-db", url: process.argv[2], ...options });
  const app = new Hono();
  app.use("*", middleware);
  app.use("/twice/*", middleware);
  app.get("/who", async (c) => c.json(Object.keys(c.env)));
  app.post("*", async (c) => c.json({ created: await c.env.db.execute("INSERT INTO users (name) VALUES (?)", [c.req.query("name")]) }));
  app.get("/tx", async (c) => {
    await c.env.db.transaction((tx) => tx.execute("INSERT INTO users (name) VALUES ('tx')"));
    throw new Error("after it was written");
  });
  app.get("*", async (c) => c.json((await c.env.db.query("SELECT count(*) FROM users")).rows[0]));
  app.onError((error, c) => (error.getResponse ? error.getResponse() : c.text(`mine: ${error.message}`, 500)));
  return { app, Bindings };
}
const { app, Bindings } = program({});
await check("bindings", app.request("/who"));
await check("beside others", app.request("/who", {}, { incoming: 1 }));
await check("write", app.request("/?name=a", { method: "POST" }));
await check("middleware twice", app.request("/twice/?name=b", { method: "POST" }));
await check("read", app.request("/"));
await check("written, then failed", app.request("/tx"));
await check("a test's own database", app.request("/", {}, { db: { query: async () => ({ rows: [["fake"]] }) } }));
await check("another database for each request", program({ db: (request) => new URL(request.url).pathname.slice(1) }).app.request("/nowhere"));
answers.outside = (await Bindings.db.query("SELECT count(*) FROM users")).rows;
process.stdout.write(JSON.stringify(answers) + "\n");
