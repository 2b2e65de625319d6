import { honoOf } from "./hono.js";
import { web } from "./places/web.js";

export const virke = honoOf(web);
export * from "./public.js";
