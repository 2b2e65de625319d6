// What every entry exports besides `virke`.

export { Busy, Conflict, Corrupt, Denied, Exists, Invalid, NotFound, OutcomeUnknown, SqlError, TimedOut, TooLarge, Unavailable, VirkeError, type ErrorCode } from "./errors.js";
export type { QueryResult, Statement } from "./answers.js";
export type { TransactionOptions, VirkeDB, VirkeSession } from "./database.js";
export type { VirkeTransaction } from "./transaction.js";
export type { D1Database, D1DatabaseSession, D1ExecResult, D1Meta, D1PreparedStatement, D1Result } from "./d1.js";
export type { Handler, Options, VirkeBindings } from "./runtime.js";
export type { ServeOptions } from "./places/place.js";
export type { BookmarkBy } from "./visitor.js";
export type { Integers } from "./values.js";
