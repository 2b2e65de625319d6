import { web } from "./places/web.js";
import { runtimeOf } from "./runtime.js";

export const { virke, connect, fire } = runtimeOf(web);
export * from "./public.js";
