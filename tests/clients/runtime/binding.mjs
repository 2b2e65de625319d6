// What a program is run on: `node X.mjs URL` on the binding of @virke/runtime, at a node; `node X.mjs d1` on Cloudflare's own.
const where = process.argv[2];

export async function binding() {
  if (where !== "d1") {
    const { virke } = await import("@virke/runtime");
    return { DB: virke({ db: "app", url: where }).Bindings.DB, close: async () => undefined };
  }
  const { Miniflare } = await import("miniflare");
  const script = "export default { fetch: () => new Response() }";
  const server = new Miniflare({ modules: true, script, d1Databases: { DB: "app" }, host: "127.0.0.1" });
  return { DB: await server.getD1Database("DB"), close: () => server.dispose() };
}
