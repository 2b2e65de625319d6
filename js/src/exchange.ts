// One request to a node and what becomes of it: sent again only where that is safe.
//
// 1. What never left, or what the node itself says it did not carry out (429, 503), is sent again, a few times. So is a
//    request whose answer was lost, but only if it is `safe`: a read, or a write with a key that this module's callers made.
// 2. A lost answer to any other request is `OutcomeUnknown`, at once. To a read it is never that: nothing was changed.
// 3. Once the answer to a write was lost, the end is its answer, a refusal that is final, or `OutcomeUnknown`.
// 4. A request of a transaction is sent `once`.
// 5. An answer that is not a node's (a proxy's page) counts as lost, unless its status says that the request was refused.
// 6. What was waited for as long as it may take is not sent again.

import { errorOf, type VirkeError } from "./errors.js";

export type Again = "safe" | "if_refused" | "once";

export interface Asked {
  method: "GET" | "POST";
  /** Below the node's URL, encoded. */
  path: string;
  body?: string;
  headers: Record<string, string>;
  again: Again;
  /** Whether it changes nothing. */
  isRead: boolean;
}

/** Sends a request once; rejects as `fetch` does. */
export type Send = (asked: Asked) => Promise<Response>;

const TRIES = 4;
const FIRST_PAUSE_MS = 100;
const PAUSE_MAX_MS = 5000;
const LOST = [500, 502, 503, 504];
const NEVER_LEFT = /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|UND_ERR_CONNECT_TIMEOUT)$/;
const NOT_TRUSTED = /CERT|SELF_SIGNED|ERR_TLS|ERR_SSL/;
const OF_STATUS: Record<number, string> = { 401: "denied", 403: "denied", 404: "not_found", 413: "too_large", 429: "busy", 503: "unavailable" };
const STREAM_GONE = /^(STREAM_EXPIRED|BATON_INVALID|BATON_REUSED)$/;
const GONE =
  "the node ended this transaction, and nothing of it is in history: it was idle for too long, wrote for too long, or the " +
  "node was restarted; run it again";
const USE_URL = "is VIRKE_URL the URL of `virke serve`?";

/** What one try came to: the body of a good answer, or an error and what may follow it. */
type Tried =
  | { body: ArrayBuffer }
  | { error: VirkeError; next: "again" | "stop" | "lost"; pauseMs?: number };

/** Send a request, again where that is safe; the body of an answer of status 2xx. Throws a `VirkeError`. */
export async function exchange(send: Send, asked: Asked, pause: (ms: number) => Promise<void> = sleep): Promise<ArrayBuffer> {
  let wasLost = false;
  let failure: VirkeError = errorOf("unavailable", "the request was not sent");
  const tries = asked.again === "once" ? 1 : TRIES;
  for (let number = 0; number < tries; number++) {
    const tried = await tryOnce(send, asked);
    if ("body" in tried) return tried.body;
    failure = tried.error;
    if (tried.next === "stop") throw failure;
    if (tried.next === "lost") {
      wasLost = true;
      if (asked.again !== "safe") break;
    }
    if (number + 1 < tries) await pause(Math.min(PAUSE_MAX_MS, Math.max(tried.pauseMs ?? 0, FIRST_PAUSE_MS * 2 ** number)));
  }
  if (wasLost && !asked.isRead && failure.code !== "outcome_unknown") {
    throw errorOf("outcome_unknown", `an answer was lost, and then: ${failure.message}`, { cause: failure });
  }
  throw failure;
}

async function tryOnce(send: Send, asked: Asked): Promise<Tried> {
  let answer: Response;
  let body: ArrayBuffer;
  try {
    answer = await send(asked);
    body = await answer.arrayBuffer();
  } catch (error) {
    return notAnswered(asked, error);
  }
  if (answer.ok) return { body };
  const described = describedIn(new TextDecoder().decode(body));
  const { status } = answer;
  if (!described && LOST.includes(status)) {
    return { error: lost(asked, `HTTP ${status} from something before the node`), next: "lost" };
  }
  const wait = answer.headers.get("retry-after") ?? "";
  const retryAfterS = /^\d{1,6}$/.test(wait) ? Number(wait) : undefined;
  const error = described
    ? errorIn(described, { retryAfterS, status: described["code"] === "denied" ? status : undefined })
    : errorOf(OF_STATUS[status] ?? "error", `the answer is not one of a Virke node: HTTP ${status}`, { hint: USE_URL, status });
  if (error.code === "outcome_unknown") return { error, next: "lost" };
  const isRefused = described && (status === 429 || status === 503);
  return { error, next: isRefused ? "again" : "stop", pauseMs: (retryAfterS ?? 0) * 1000 };
}

function notAnswered(asked: Asked, error: unknown): Tried {
  const code = codeOf(error);
  const reason = reasonOf(error);
  if (NEVER_LEFT.test(code)) {
    return { error: errorOf("unavailable", `the node does not answer: ${reason}`, { hint: USE_URL, cause: error }), next: "again" };
  }
  if (NOT_TRUSTED.test(code)) {
    return { error: errorOf("unavailable", `the node's certificate is not trusted: ${reason}`, { cause: error }), next: "again" };
  }
  const isLate = error instanceof Error && error.name === "TimeoutError";
  if (isLate && asked.isRead) return { error: errorOf("timed_out", "the node did not answer in time", { cause: error }), next: "stop" };
  return { error: lost(asked, reason, error), next: isLate ? "stop" : "lost" };
}

function lost(asked: Asked, reason: string, cause?: unknown): VirkeError {
  if (asked.isRead) return errorOf("unavailable", `the node's answer was lost: ${reason}`, { cause });
  return errorOf("outcome_unknown", `the node's answer was lost, so it may have been done: ${reason}`, { cause });
}

function codeOf(error: unknown): string {
  const cause = (error as { cause?: { code?: unknown } }).cause;
  return typeof cause?.code === "string" ? cause.code : "";
}

function reasonOf(error: unknown): string {
  const { message, cause } = error as { message?: string; cause?: { message?: string; code?: string } };
  return cause?.message || cause?.code || message || String(error);
}

type Described = Record<string, unknown>;

/** The error of a node below `error`, in Virke's words; undefined if the body is not a node's. */
function describedIn(text: string): Described | undefined {
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch {
    return undefined; // a page of a proxy's
  }
  if (typeof found !== "object" || found === null) return undefined;
  const body = found as Described;
  const error = body["error"];
  if (typeof error === "object" && error !== null && "code" in error) return error as Described;
  return inOurWords(body);
}

/** An error of libSQL's protocol in Virke's words; undefined if it has none. */
export function inOurWords(found: Described): Described | undefined {
  const own = found["virke"];
  if (typeof own !== "object" || own === null) return undefined;
  if (STREAM_GONE.test(String(found["code"]))) return { code: "conflict", message: GONE };
  return own as Described;
}

/** The error that a value below `error` says. */
export function errorIn(found: Described, more: { status?: number | undefined; retryAfterS?: number | undefined } = {}): VirkeError {
  const { code, message, hint, sqlite_code: sqliteCode, offset } = found;
  return errorOf(String(code), String(message), {
    ...more,
    hint: hint ? String(hint) : undefined,
    sqliteCode: sqliteCode ? String(sqliteCode) : undefined,
    offset: typeof offset === "number" ? offset : undefined,
  });
}

function sleep(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}
