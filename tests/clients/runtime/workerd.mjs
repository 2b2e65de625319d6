// The seed's program (app.ts here) bundled as Wrangler bundles it, on Cloudflare's own workerd: `node workerd.mjs URL`.
import { build } from "esbuild";
import { Miniflare } from "miniflare";
import { check, print } from "./report.mjs";

const { outputFiles } = await build({ entryPoints: ["app.ts"], bundle: true, write: false, format: "iife", target: "es2022", conditions: ["workerd"] });
const [{ text: script }] = outputFiles;
const server = new Miniflare({ script, bindings: { VIRKE_URL: process.argv[2] }, host: "127.0.0.1" });
const ask = async (init) => {
  const response = await server.dispatchFetch("http://here/users", init);
  return [response.status, await response.json(), response.headers.get("set-cookie")?.split("=")[0]];
};
const ann = { method: "POST", body: JSON.stringify({ name: "ann", email: "a@x" }) };

await check("write", () => ask(ann));
await check("read", () => ask());
await check("the same again", () => ask(ann));
await check("modules of other places", () => ["node-server", "node:http", "fastly:"].filter((name) => script.includes(name)));
await server.dispose();
print();
