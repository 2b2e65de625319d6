import { honoOf } from "./hono.js";
import { node } from "./places/node.js";

export const virke = honoOf(node);
export * from "./public.js";
