// A database of a node.
//
// 1. Each answer's bookmark is remembered by the session and sent with its next read: no read is older than the session's own
//    writes, or than what it has read, whichever node answers.
// 2. A write that can carry an idempotency key carries one, made here: where its answer is lost it is sent again, and not
//    done twice.
// 3. A bookmark from outside that the database refuses is forgotten, and the read is done without it.

import { answerOf, bodiesOf, bodyOf, list, resultOf, understood, type Answer, type Body, type QueryResult, type Statement } from "./answers.js";
import { errorOf, invalid, VirkeError, wrongValue } from "./errors.js";
import type { Asked } from "./exchange.js";
import type { Remote } from "./remote.js";
import { Session } from "./session.js";
import { mayHaveWritten, readsOnly, split, takesKey } from "./sql.js";
import { Transaction, type VirkeTransaction } from "./transaction.js";
import type { Integers } from "./values.js";

export interface TransactionOptions {
  /** It only reads: one state for its whole life, and it waits for nobody. */
  readOnly?: boolean;
}

/** A database, as a program has it. */
export interface VirkeDB {
  /** Run one statement of any kind. */
  query(sql: string, params?: unknown[]): Promise<QueryResult>;
  /** Run one statement; how many rows it inserted, updated or deleted. */
  execute(sql: string, params?: unknown[]): Promise<number>;
  /** Run statements as one transaction, in one request: all of them, or none. */
  batch(statements: readonly Statement[]): Promise<QueryResult[]>;
  /** Run `work` in one transaction, which is committed when it returns and taken back when it throws. */
  transaction<T>(work: (tx: VirkeTransaction) => Promise<T>, options?: TransactionOptions): Promise<T>;
  /** The same database for one visitor: reads see nothing older than `bookmark`, and than what this session has seen. */
  session(bookmark?: string | null): VirkeSession;
}

export interface VirkeSession extends VirkeDB {
  /** The newest state that it has seen, to be given to `session` later; null before the first answer. */
  readonly bookmark: string | null;
}

const KEY_BYTES = 16;
const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
const BOOKMARK = /^[\x21-\x7e]{1,256}$/;

export class Database implements VirkeSession {
  readonly #remote: Remote;
  readonly #name: () => string | Promise<string>;
  readonly #integers: Integers;
  /** What was seen; shared by all that look at the database for the same visitor. */
  readonly state: Session;

  constructor(remote: Remote, name: () => string | Promise<string>, integers: Integers, state: Session) {
    this.#remote = remote;
    this.#name = name;
    this.#integers = integers;
    this.state = state;
  }

  get bookmark(): string | null {
    return this.state.bookmark;
  }

  session(bookmark: string | null = null): Database {
    if (bookmark !== null && !isBookmark(bookmark)) throw invalid("that is not a bookmark: give one as it was received");
    return this.with(new Session(bookmark));
  }

  /** The same database with another session, or other integers. */
  with(state: Session, integers: Integers = this.#integers): Database {
    return new Database(this.#remote, this.#name, integers, state);
  }

  async query(sql: string, params: unknown[] = []): Promise<QueryResult> {
    return resultOf(await this.run("query", bodyOf(sql, params)));
  }

  async execute(sql: string, params: unknown[] = []): Promise<number> {
    return (await this.run("execute", bodyOf(sql, params))).rows_affected;
  }

  async batch(statements: readonly Statement[]): Promise<QueryResult[]> {
    return (await this.runAll(bodiesOf(statements))).map(resultOf);
  }

  async transaction<T>(work: (tx: VirkeTransaction) => Promise<T>, { readOnly = false }: TransactionOptions = {}): Promise<T> {
    const pipe = async (body: Body): Promise<ArrayBuffer> => this.#ask("v3/pipeline", body, { again: "once", isRead: false });
    const begin = () => Transaction.begin(pipe, this.#integers, { readOnly, bookmark: this.state.bookmark });
    const tx = await this.#withClaim(begin);
    let result: T;
    try {
      result = await work(tx);
    } catch (error) {
      await tx.rollback();
      throw error;
    }
    this.state.saw(await tx.commit(), !readOnly);
    return result;
  }

  /** One statement, or a script, with all that is known of its answer. */
  async run(route: "query" | "execute", body: Body): Promise<Answer> {
    return this.#asking([body], route, body, (found) => answerOf(found, this.#integers));
  }

  /** Statements as one transaction. */
  async runAll(statements: Body[]): Promise<Answer[]> {
    if (!statements.length) return [];
    return this.#asking(statements, "batch", { statements }, (found) => list(found).map((one) => answerOf(one, this.#integers)));
  }

  /** All of the database, as an SQLite file. */
  async file(): Promise<ArrayBuffer> {
    const path = `${await this.#path("export")}?format=sqlite`;
    return this.#remote.ask({ method: "GET", path, headers: {}, again: "safe", isRead: true });
  }

  async #asking<T extends Answer | Answer[]>(statements: Body[], route: string, body: Body, read: (found: Parameters<typeof answerOf>[0]) => T): Promise<T> {
    const texts = statements.flatMap(({ sql, script }) => (script ? split(String(sql)) : [String(sql)]));
    const isRead = texts.every(readsOnly);
    const key = !isRead && texts.every(takesKey) ? newKey() : undefined;
    const again = isRead || key ? "safe" : "if_refused";
    const answer = await this.#ask(route, body, { again, isRead, key });
    let found: T;
    try {
      found = understood(answer, this.#integers, read);
    } catch (error) {
      throw isRead ? error : wasDone(error);
    }
    const last: Answer | undefined = Array.isArray(found) ? (found.at(-1) as Answer) : (found as Answer);
    if (last) this.state.saw(last.bookmark, texts.some(mayHaveWritten));
    return found;
  }

  async #ask(route: string, body: Body, how: Pick<Asked, "again" | "isRead"> & { key?: string | undefined }): Promise<ArrayBuffer> {
    const { again, isRead, key } = how;
    const asked = { method: "POST", path: await this.#path(route), body: JSON.stringify(body), again, isRead } as const;
    const send = () => {
      const headers = { ...(key && { "idempotency-key": key }), ...(again !== "once" && this.state.headers) };
      return this.#remote.ask({ ...asked, headers });
    };
    return this.#withClaim(send);
  }

  /** Ask, and ask again without the bookmark from outside if that may be why it was refused: nothing was changed then. */
  async #withClaim<T>(ask: () => Promise<T>): Promise<T> {
    try {
      return await ask();
    } catch (error) {
      if (!this.state.isClaimed || !(error instanceof VirkeError) || error.code !== "invalid") throw error;
      this.state.forget();
      return ask();
    }
  }

  async #path(route: string): Promise<string> {
    const name = await this.#name();
    checkName(name);
    return `/db/${name}/${route}`;
  }
}

/** Throws `Invalid`: it can't be the name of a database. */
export function checkName(name: unknown): void {
  if (typeof name === "string" && NAME.test(name)) return;
  throw wrongValue(`not the name of a database: ${JSON.stringify(name)}`, "letters, digits, '_', '-' and '.'");
}

/** Whether a text can be a bookmark; the database knows whether it is one. */
export function isBookmark(text: unknown): text is string {
  return typeof text === "string" && BOOKMARK.test(text);
}

/** What it means for a write that its answer can't be read: it was carried out. */
function wasDone(error: unknown): unknown {
  if (!(error instanceof VirkeError)) return error;
  if (error.code === "unavailable") return errorOf("outcome_unknown", `it may have been done: ${error.message}`, { hint: error.hint, cause: error });
  return errorOf("error", `it was done, but its rows can't be given: ${error.message}`, { hint: error.hint, cause: error });
}

function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(KEY_BYTES)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
