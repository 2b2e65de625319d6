// A binding shaped like Cloudflare D1's, for programs and libraries that are written for it: drizzle-orm/d1, kysely-d1, Prisma.
//
// 1. `batch` and `exec` are one transaction each: all of their statements, or none.
// 2. Values are D1's: a BLOB is a list of bytes, given or taken; an integer beyond 2^53 is an error, never another number.
// 3. `rows_read` and `size_after` are not counted: 0.

import { bodyOf, type Answer, type Body } from "./answers.js";
import type { Database } from "./database.js";
import { errorOf, VirkeError } from "./errors.js";
import { Session } from "./session.js";
import { changesSchema, split } from "./sql.js";

export interface D1Meta {
  duration: number;
  changes: number;
  last_row_id: number;
  changed_db: boolean;
  rows_read: number;
  rows_written: number;
  size_after: number;
  served_by: string;
}

export interface D1Result<T = Record<string, unknown>> {
  success: true;
  results: T[];
  meta: D1Meta & Record<string, unknown>;
  error?: never;
}

export interface D1ExecResult {
  count: number;
  duration: number;
}

export interface D1PreparedStatement {
  bind(...values: unknown[]): D1PreparedStatement;
  first<T = unknown>(column: string): Promise<T | null>;
  first<T = Record<string, unknown>>(): Promise<T | null>;
  run<T = Record<string, unknown>>(): Promise<D1Result<T>>;
  all<T = Record<string, unknown>>(): Promise<D1Result<T>>;
  raw<T = unknown[]>(options: { columnNames: true }): Promise<[string[], ...T[]]>;
  raw<T = unknown[]>(options?: { columnNames?: false }): Promise<T[]>;
}

export interface D1DatabaseSession {
  prepare(query: string): D1PreparedStatement;
  batch<T = unknown>(statements: D1PreparedStatement[]): Promise<D1Result<T>[]>;
  getBookmark(): string | null;
}

export interface D1Database {
  prepare(query: string): D1PreparedStatement;
  batch<T = unknown>(statements: D1PreparedStatement[]): Promise<D1Result<T>[]>;
  exec(query: string): Promise<D1ExecResult>;
  withSession(constraintOrBookmark?: string): D1DatabaseSession;
  dump(): Promise<ArrayBuffer>;
}

const SERVED_BY = "virke";

/** The binding of a database. */
export function d1(database: Database): D1Database {
  return new D1(database.with(database.state, "number"));
}

class D1 implements D1Database, D1DatabaseSession {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  prepare(query: string): Prepared {
    return new Prepared(this.#database, query, []);
  }

  async batch<T = unknown>(statements: D1PreparedStatement[]): Promise<D1Result<T>[]> {
    const given = statements.map((one) => {
      if (!(one instanceof Prepared)) throw typeError("batch takes what prepare gave");
      return one;
    });
    if (!given.length) throw inD1sWords("D1_ERROR", "No SQL statements detected.");
    const began = performance.now();
    const answers = await inItsWords(() => this.#database.runAll(given.map((one) => one.body())));
    return answers.map((answer, at) => resultOf<T>(answer, given[at]?.query ?? "", began));
  }

  async exec(query: string): Promise<D1ExecResult> {
    const began = performance.now();
    const count = split(query).length;
    if (count) await inItsWords(() => this.#database.run("execute", { ...bodyOf(query), script: true }), "D1_EXEC_ERROR");
    return { count, duration: performance.now() - began };
  }

  withSession(constraintOrBookmark = "first-unconstrained"): D1DatabaseSession {
    if (constraintOrBookmark === "first-primary") return new D1(this.#database.with(new Session(null, { start: "strong" })));
    if (constraintOrBookmark === "first-unconstrained") return new D1(this.#database.session());
    return new D1(this.#database.session(constraintOrBookmark));
  }

  getBookmark(): string | null {
    return this.#database.bookmark;
  }

  async dump(): Promise<ArrayBuffer> {
    return inItsWords(() => this.#database.file());
  }
}

class Prepared implements D1PreparedStatement {
  readonly query: string;
  readonly #database: Database;
  readonly #params: unknown[];

  constructor(database: Database, query: string, params: unknown[]) {
    this.#database = database;
    this.query = query;
    this.#params = params;
  }

  bind(...values: unknown[]): Prepared {
    return new Prepared(this.#database, this.query, values.map(parameterOf));
  }

  body(): Body {
    return bodyOf(this.query, this.#params);
  }

  async first<T>(column?: string): Promise<T | null> {
    const answer = await this.#answer();
    const row = answer.rows[0];
    if (!row) return null;
    const found = asObject(answer.columns, row);
    if (column === undefined) return found as T;
    if (!Object.hasOwn(found, column)) throw inD1sWords("D1_COLUMN_NOTFOUND", "Column not found", ` (${column})`);
    return found[column] as T;
  }

  async all<T>(): Promise<D1Result<T>> {
    const began = performance.now();
    return resultOf<T>(await this.#answer(), this.query, began);
  }

  run<T>(): Promise<D1Result<T>> {
    return this.all<T>();
  }

  async raw<T>(options?: { columnNames?: boolean }): Promise<[string[], ...T[]] & T[]> {
    const { columns, rows } = await this.#answer();
    const found = rows.map((row) => row.map(valueOf)) as T[];
    return (options?.columnNames ? [columns, ...found] : found) as [string[], ...T[]] & T[];
  }

  #answer(): Promise<Answer> {
    return inItsWords(() => this.#database.run("query", this.body()));
  }
}

/** A list of bytes is a BLOB, as D1 has it. A Date and a BigInt, which D1 refuses, are what they are for `query`. */
function parameterOf(value: unknown): unknown {
  if (Array.isArray(value) && value.every((one) => Number.isInteger(one) && one >= 0 && one <= 255)) return Uint8Array.from(value as number[]);
  const isObject = typeof value === "object" && value !== null;
  const isTaken = !isObject || value instanceof Date || value instanceof ArrayBuffer || ArrayBuffer.isView(value);
  if (!isTaken || ["undefined", "function", "symbol"].includes(typeof value)) {
    throw typeError(`Type '${typeof value}' not supported for value '${String(value)}'`);
  }
  return value;
}

function valueOf(value: unknown): unknown {
  return value instanceof Uint8Array ? Array.from(value) : value;
}

function asObject(columns: string[], row: unknown[]): Record<string, unknown> {
  return Object.fromEntries(columns.map((name, at) => [name, valueOf(row[at])]));
}

function resultOf<T>(answer: Answer, query: string, began: number): D1Result<T> {
  const changes = answer.rows_affected;
  const meta: D1Meta = {
    duration: performance.now() - began,
    changes,
    last_row_id: answer.last_insert_rowid ?? 0,
    changed_db: changes > 0 || changesSchema(query),
    rows_read: 0,
    rows_written: changes,
    size_after: 0,
    served_by: SERVED_BY,
  };
  return { success: true, results: answer.rows.map((row) => asObject(answer.columns, row) as T), meta: { ...meta } };
}

/** Errors with the words that D1's have: programs look for `D1_ERROR`, and for SQLite's message and codes behind it. */
async function inItsWords<T>(ask: () => Promise<T>, prefix = "D1_ERROR"): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    if (!(error instanceof VirkeError)) throw error;
    const { code, hint, sqliteCode, offset, status } = error;
    const primary = sqliteCode?.split("_").slice(0, 2).join("_");
    const at = offset === undefined ? "" : ` at offset ${offset}`;
    const codes = !sqliteCode ? "" : sqliteCode === primary ? `: ${primary}` : `: ${primary} (extended: ${sqliteCode})`;
    const message = `${error.message}${at}${codes}`;
    const details = { hint, sqliteCode, offset, status, isVisitors: "getResponse" in error };
    throw errorOf(code, `${prefix}: ${message}`, { ...details, cause: errorOf(code, message, { ...details, cause: error }) });
  }
}

/** A wrong call: a message whose cause has it without what D1 puts around it. */
function inD1sWords(prefix: string, message: string, end = ""): VirkeError {
  const isVisitors = prefix === "D1_TYPE_ERROR";
  return errorOf("invalid", `${prefix}: ${message}${end}`, { isVisitors, cause: errorOf("invalid", message, { isVisitors }) });
}

function typeError(message: string): VirkeError {
  return inD1sWords("D1_TYPE_ERROR", message);
}
