// Every error that Virke raises, grouped by what the caller does about it.
//
// 1. `code` is stable: programs may compare it. Messages may change.
// 2. `status` is the one of docs/http.md.
// 3. An error that a visitor's data can cause, or that repeating the request mends, has `getResponse`: Hono's default
//    error handler answers with it. All others are the program's or the operator's to mend: Hono logs them and answers 500.

export type ErrorCode =
  | "invalid"
  | "sql_error"
  | "denied"
  | "not_found"
  | "conflict"
  | "exists"
  | "too_large"
  | "busy"
  | "corrupt"
  | "unavailable"
  | "timed_out"
  | "outcome_unknown"
  | "error";

export interface ErrorDetails {
  hint?: string | undefined;
  sqliteCode?: string | undefined;
  offset?: number | undefined;
  status?: number | undefined;
  retryAfterS?: number | undefined;
  /** What a visitor sent is wrong, and not the program. */
  isVisitors?: boolean;
  cause?: unknown;
}

const STATUS: Record<ErrorCode, number> = {
  invalid: 400,
  sql_error: 400,
  denied: 403,
  not_found: 404,
  conflict: 409,
  exists: 409,
  too_large: 413,
  busy: 429,
  corrupt: 500,
  error: 500,
  unavailable: 503,
  timed_out: 504,
  outcome_unknown: 504,
};
const RETRYABLE = new Set<ErrorCode>(["conflict", "busy", "unavailable"]);
const VISITORS = new Set<ErrorCode>(["conflict", "busy", "unavailable", "timed_out", "outcome_unknown"]);
const VISITORS_DATA = /^SQLITE_(CONSTRAINT|MISMATCH|TOOBIG)/;
const SAID: Partial<Record<ErrorCode, string>> = {
  busy: "the database is busy; try again in a moment",
  unavailable: "the database does not answer; try again in a moment",
  timed_out: "the database took too long",
  outcome_unknown: "it may have been done or not; look before you send it again",
};
const RETRY_AFTER_S = 1;

/** Base of all errors. */
export class VirkeError extends Error {
  readonly code: ErrorCode;
  /** The status of HTTP that says the same. */
  readonly status: number;
  /** Whether the same call may work later. */
  readonly retryable: boolean;
  /** What to do next. */
  declare readonly hint?: string;
  /** SQLite's extended result code: `SQLITE_CONSTRAINT_UNIQUE`. */
  declare readonly sqliteCode?: string;
  /** The byte of the statement at which SQLite found it. */
  declare readonly offset?: number;
  /** The response for a visitor; not there where only the program or its operator can mend it. */
  declare readonly getResponse?: () => Response;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.code = code;
    this.status = details.status ?? STATUS[code];
    this.retryable = RETRYABLE.has(code);
    const { hint, sqliteCode, offset } = details;
    if (hint) this.hint = hint;
    if (sqliteCode) this.sqliteCode = sqliteCode;
    if (offset !== undefined) this.offset = offset;
    if (details.isVisitors || VISITORS.has(code) || (code === "sql_error" && VISITORS_DATA.test(sqliteCode ?? ""))) {
      Object.defineProperty(this, "getResponse", { value: () => responseOf(this, details.retryAfterS) });
    }
  }
}

/** The transaction lost a race: it is not, and never will be, in history. Run it again. */
export class Conflict extends VirkeError {}
/** It may have been done: ask the data, do not repeat it blindly. */
export class OutcomeUnknown extends VirkeError {}
/** The node or its store did not answer; nothing was changed. Repeat the call in a moment. */
export class Unavailable extends VirkeError {}
/** Too many requests wait already; nothing was changed. Repeat the call in a moment. */
export class Busy extends VirkeError {}
/** The database, table or version does not exist. */
export class NotFound extends VirkeError {}
/** The name is taken already. */
export class Exists extends VirkeError {}
/** The call itself is wrong: fix it. */
export class Invalid extends VirkeError {}
/** SQLite refused the statement; nothing was changed. */
export class SqlError extends Invalid {}
/** The token, or the statement, may not do this. */
export class Denied extends VirkeError {}
/** It took longer than the setting `query_timeout_ms`, or `timeoutMs`, allows; nothing was changed. */
export class TimedOut extends VirkeError {}
/** A bound was reached: ask for less, or raise the setting. */
export class TooLarge extends VirkeError {}
/** Stored bytes are not what was written: stop, and look at the store. */
export class Corrupt extends VirkeError {}

const CLASSES: Record<ErrorCode, typeof VirkeError> = {
  invalid: Invalid,
  sql_error: SqlError,
  denied: Denied,
  not_found: NotFound,
  conflict: Conflict,
  exists: Exists,
  too_large: TooLarge,
  busy: Busy,
  corrupt: Corrupt,
  unavailable: Unavailable,
  timed_out: TimedOut,
  outcome_unknown: OutcomeUnknown,
  error: VirkeError,
};

/** An error of the class that its code says; a code that is not known is an `error`. */
export function errorOf(code: string, message: string, details: ErrorDetails = {}): VirkeError {
  const known = (Object.hasOwn(CLASSES, code) ? code : "error") as ErrorCode;
  return new CLASSES[known](known, message, details);
}

/** The call is wrong. */
export function invalid(message: string, hint?: string): VirkeError {
  return errorOf("invalid", message, { hint });
}

/** A value is wrong, which most often comes from a visitor. */
export function wrongValue(message: string, hint?: string): VirkeError {
  return errorOf("invalid", message, { hint, isVisitors: true });
}

/** What a visitor is answered: for faults of the data its own words, for those of the store none of the store's. */
function responseOf(error: VirkeError, retryAfterS = RETRY_AFTER_S): Response {
  const { code, status, sqliteCode } = error;
  const message = SAID[code] ?? error.message;
  const headers: Record<string, string> = { "content-type": "application/json" };
  if (status === 429 || status === 503) headers["retry-after"] = String(retryAfterS);
  const body = sqliteCode ? { code, message, sqlite_code: sqliteCode } : { code, message };
  return new Response(JSON.stringify({ error: body }), { status, headers });
}
