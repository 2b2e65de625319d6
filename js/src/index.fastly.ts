import { fastly } from "./places/fastly.js";
import { runtimeOf } from "./runtime.js";

export const { virke, connect, fire } = runtimeOf(fastly);
export * from "./public.js";
