// A program without a framework.
import { virke } from "@virke/runtime";

const { fire } = virke({ db: "my-app-db" });
fire(async (request, env) => {
  if (request.method === "GET") return Response.json((await env.db.query("SELECT name, email FROM users")).rows);
  const { name, email } = await request.json();
  return Response.json({ created: await env.db.execute("INSERT INTO users (name, email) VALUES (?, ?)", [name, email]) });
});
