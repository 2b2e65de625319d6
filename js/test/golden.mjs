// vectors/http-1/values.json, each with the text of its JSON as it stands there (`4.0` is no `4`), and what it means here.
import { readFileSync } from "node:fs";

const text = readFileSync(process.env.VECTORS ?? new URL("../../vectors/http-1/values.json", import.meta.url), "utf8");
const sources = [...text.matchAll(/"json": (.*)\},?$/gm)].map((found) => found[1]);
export const vectors = JSON.parse(text).map((vector, at) => ({ ...vector, source: sources[at] }));

// The value that a vector stands for, without help of what is tested; an Error with words of its message if there is none.
export function meant({ type, text, hex }, integers) {
  if (type === "null") return null;
  if (type === "real") return Number(text);
  if (type === "blob") return Uint8Array.from(Buffer.from(hex, "hex"));
  if (type === "text") return hex === undefined ? text : new Error("not UTF-8");
  if (integers === "string") return text;
  if (integers === "bigint") return BigInt(text);
  return Number.isSafeInteger(Number(text)) || BigInt(text) === 2n ** 53n ? Number(text) : new Error("beyond 2\\^53");
}
