import { honoOf } from "./hono.js";
import { fastly } from "./places/fastly.js";

export const virke = honoOf(fastly);
export * from "./public.js";
