import { node } from "./places/node.js";
import { runtimeOf } from "./runtime.js";

export const { virke, connect, fire } = runtimeOf(node);
export * from "./public.js";
