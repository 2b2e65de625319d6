// Statements as the bodies that a node takes, and its answers as results.

import { errorOf, type VirkeError } from "./errors.js";
import { count, decode, encodeAll, parse, type Integers, type Json } from "./values.js";
import { invalid } from "./errors.js";

/** What a statement answered. */
export interface QueryResult {
  columns: string[];
  rows: unknown[][];
  rows_affected: number;
}

/** A statement of a batch. */
export type Statement = string | readonly [sql: string, params?: unknown[]] | { readonly sql: string; readonly params?: unknown[] };

/** A result with what only the D1 binding shows. */
export interface Answer extends QueryResult {
  last_insert_rowid: number | null;
  bookmark: string;
}

export type Body = Record<string, Json>;

/** A statement as a node takes it. Throws `Invalid`: it is no text, or a parameter is no value. */
export function bodyOf(sql: unknown, params: unknown = []): Body {
  if (typeof sql !== "string") throw invalid(`SQL must be text, not ${sql === null ? "null" : typeof sql}`);
  const values = encodeAll(params);
  return values.length ? { sql, params: values } : { sql };
}

/** Statements as a node takes them. */
export function bodiesOf(statements: readonly Statement[]): Body[] {
  if (!Array.isArray(statements)) throw invalid("a batch takes a list of statements");
  return statements.map((one) => {
    if (typeof one === "string") return bodyOf(one);
    if (Array.isArray(one)) return bodyOf(one[0], one[1]);
    if (typeof one === "object" && one !== null && "sql" in one) return bodyOf(one.sql, one.params);
    throw invalid("a statement of a batch is a text, [sql, params] or { sql, params }");
  });
}

/** What `read` makes of the JSON of an answer. Throws `Unavailable`: it is not what was promised. */
export function understood<T>(body: ArrayBuffer, integers: Integers, read: (found: Json) => T): T {
  try {
    return read(parse(new TextDecoder().decode(body), integers));
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError) throw notUnderstood(error);
    throw error;
  }
}

export function notUnderstood(cause?: unknown): VirkeError {
  return errorOf("unavailable", "the node's answer is not understood", { hint: "is VIRKE_URL the URL of `virke serve`, of this version or a newer one?", cause });
}

/** A result. Throws `TypeError`: it is none. */
export function answerOf(found: Json, integers: Integers): Answer {
  const body = object(found);
  const rowid = body["last_insert_rowid"];
  return {
    columns: list(body["columns"]).map(String),
    rows: list(body["rows"]).map((row) => list(row).map((value) => decode(value, integers))),
    rows_affected: count(body["rows_affected"]),
    last_insert_rowid: rowid === null || rowid === undefined ? null : count(rowid),
    bookmark: String(body["bookmark"]),
  };
}

/** What callers get of it. */
export function resultOf({ columns, rows, rows_affected }: Answer): QueryResult {
  return { columns, rows, rows_affected };
}

export function list(found: Json | undefined): Json[] {
  if (!Array.isArray(found)) throw new TypeError("not a list");
  return found;
}

export function object(found: Json | undefined): Body {
  if (typeof found !== "object" || found === null || Array.isArray(found)) throw new TypeError("not an object");
  return found;
}
