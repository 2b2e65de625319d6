// An interactive transaction: one stream of libSQL's protocol, which carries Virke's own requests (docs/hrana.md).
//
// 1. Each call is one request, sent once. If its answer is lost the transaction is over and nothing of it is in history;
//    only a lost answer to the commit is `OutcomeUnknown`.
// 2. Requests follow each other, because a baton is good for one: calls made at the same time wait for each other.

import { answerOf, bodiesOf, bodyOf, list, notUnderstood, object, resultOf, understood, type Answer, type Body, type QueryResult, type Statement } from "./answers.js";
import { errorIn, inOurWords } from "./exchange.js";
import { errorOf, invalid, VirkeError } from "./errors.js";
import type { Integers, Json } from "./values.js";

/** What works inside of `transaction`. */
export interface VirkeTransaction {
  query(sql: string, params?: unknown[]): Promise<QueryResult>;
  execute(sql: string, params?: unknown[]): Promise<number>;
  /** Several statements in one request; an error takes back what they did. */
  batch(statements: readonly Statement[]): Promise<QueryResult[]>;
}

/** Sends the body of a pipeline once. */
export type Pipe = (body: Body) => Promise<ArrayBuffer>;

export class Transaction implements VirkeTransaction {
  readonly #pipe: Pipe;
  readonly #integers: Integers;
  #baton: Json = null;
  #over = false;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(pipe: Pipe, integers: Integers) {
    this.#pipe = pipe;
    this.#integers = integers;
  }

  static async begin(pipe: Pipe, integers: Integers, asked: { readOnly: boolean; bookmark: string | null }): Promise<Transaction> {
    const made = new Transaction(pipe, integers);
    const mode = asked.readOnly ? "read_only" : "immediate";
    await made.#ask({ type: "virke_begin", mode, ...(asked.readOnly && { bookmark: asked.bookmark }) });
    if (made.#baton === null) throw invalid("this server keeps no transaction across requests", "use batch");
    return made;
  }

  async query(sql: string, params: unknown[] = []): Promise<QueryResult> {
    return resultOf((await this.#run([bodyOf(sql, params)]))[0] as Answer);
  }

  async execute(sql: string, params: unknown[] = []): Promise<number> {
    return (await this.query(sql, params)).rows_affected;
  }

  async batch(statements: readonly Statement[]): Promise<QueryResult[]> {
    const bodies = bodiesOf(statements);
    return bodies.length ? (await this.#run(bodies)).map(resultOf) : [];
  }

  /** Make it durable; the bookmark of the state that it made. */
  async commit(): Promise<string> {
    const found = await this.#ask({ type: "virke_commit" }, true);
    return String(found["bookmark"]);
  }

  /** Take it back. The node does that by itself, some seconds later, if it does not hear of it. */
  async rollback(): Promise<void> {
    await this.#last; // never rejects
    if (this.#over) return;
    this.#over = true;
    try {
      await this.#pipe({ baton: this.#baton, requests: [{ type: "close" }] });
    } catch (error) {
      if (!(error instanceof VirkeError)) throw error;
    }
  }

  async #run(statements: Body[]): Promise<Answer[]> {
    const found = await this.#ask({ type: "virke_run", statements });
    try {
      return list(found["results"]).map((one) => answerOf(one, this.#integers));
    } catch (error) {
      if (error instanceof TypeError) throw notUnderstood(error);
      throw error;
    }
  }

  #ask(request: Body, ends = false): Promise<Body> {
    const asked = this.#last.then(() => this.#send(request, ends));
    this.#last = asked.catch(() => undefined); // whoever asked hears of it
    return asked;
  }

  async #send(request: Body, ends: boolean): Promise<Body> {
    if (this.#over) throw invalid("the transaction is over");
    this.#over = true; // unless the answer says otherwise
    const requests = ends ? [request, { type: "close" }] : [request];
    let answer: Body;
    try {
      answer = understood(await this.#pipe({ baton: this.#baton, requests }), this.#integers, object);
    } catch (error) {
      throw ends ? error : whatIsLost(error);
    }
    this.#baton = answer["baton"] ?? null;
    this.#over = ends || this.#baton === null;
    const result = object(list(answer["results"])[0]);
    if (result["type"] === "ok") return object(result["response"]);
    const error = object(result["error"]);
    throw errorIn(inOurWords(error) ?? { code: "error", message: error["message"] });
  }
}

/** What a request whose answer did not come means for its transaction, which is over. */
function whatIsLost(error: unknown): unknown {
  if (!(error instanceof VirkeError) || (error.code !== "outcome_unknown" && error.code !== "unavailable")) return error;
  return errorOf("unavailable", `the transaction is over, and nothing of it is in history: ${error.message}`, { cause: error });
}
