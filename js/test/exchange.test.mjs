// What is sent again, and what the caller hears: every kind of request against sequences of outcomes.
import assert from "node:assert/strict";
import { test } from "node:test";
import { exchange } from "../dist/exchange.js";

const read = { method: "POST", path: "/", headers: {}, again: "safe", isRead: true };
const keyed = { ...read, isRead: false };
const plain = { ...keyed, again: "if_refused" };
const once = { ...keyed, again: "once" };

const ok = () => new Response('"done"');
const node = (status, error, headers) => () => new Response(JSON.stringify({ error }), { status, headers });
const busy = node(429, { code: "busy", message: "full" }, { "retry-after": "3" });
const down = node(503, { code: "unavailable", message: "no store" });
const unique = node(400, { code: "sql_error", message: "UNIQUE", sqlite_code: "SQLITE_CONSTRAINT_UNIQUE", hint: "mend it" });
const conflict = node(409, { code: "conflict", message: "lost" });
const unknown = node(504, { code: "outcome_unknown", message: "who knows" });
const proxy = (status) => () => new Response("<html>", { status });
const fails = (code) => () => Promise.reject(Object.assign(new TypeError("fetch failed"), { cause: Object.assign(new Error(`it ${code}`), { code }) }));
const refused = fails("ECONNREFUSED");
const reset = fails("ECONNRESET");
const late = () => Promise.reject(new DOMException("timed out", "TimeoutError"));
const cutOff = () => new Response(new ReadableStream({ pull: (one) => one.error(new TypeError("terminated")) }));

async function play(asked, ...outcomes) {
  let sent = 0;
  const pauses = [];
  const send = async () => {
    const outcome = outcomes[Math.min(sent, outcomes.length - 1)];
    sent += 1;
    return outcome();
  };
  const said = await exchange(send, asked, async (ms) => void pauses.push(ms)).then(
    (body) => new TextDecoder().decode(body),
    (error) => error.code,
  );
  return { said, sent, pauses, is: [said, sent] };
}

const table = [
  ["a good answer", [ok], { read: ['"done"', 1], keyed: ['"done"', 1], plain: ['"done"', 1], once: ['"done"', 1] }],
  ["never left", [refused, ok], { read: ['"done"', 2], keyed: ['"done"', 2], plain: ['"done"', 2], once: ["unavailable", 1] }],
  ["never leaves", [refused], { read: ["unavailable", 4], keyed: ["unavailable", 4], plain: ["unavailable", 4], once: ["unavailable", 1] }],
  ["the node is busy", [busy, ok], { read: ['"done"', 2], keyed: ['"done"', 2], plain: ['"done"', 2], once: ["busy", 1] }],
  ["the store is down", [down], { read: ["unavailable", 4], keyed: ["unavailable", 4], plain: ["unavailable", 4], once: ["unavailable", 1] }],
  ["a refusal that is final", [unique], { read: ["sql_error", 1], keyed: ["sql_error", 1], plain: ["sql_error", 1], once: ["sql_error", 1] }],
  ["a conflict", [conflict], { read: ["conflict", 1], keyed: ["conflict", 1], plain: ["conflict", 1], once: ["conflict", 1] }],
  ["a lost answer", [reset, ok], { read: ['"done"', 2], keyed: ['"done"', 2], plain: ["outcome_unknown", 1], once: ["outcome_unknown", 1] }],
  ["an answer cut off", [cutOff, ok], { read: ['"done"', 2], keyed: ['"done"', 2], plain: ["outcome_unknown", 1], once: ["outcome_unknown", 1] }],
  ["lost every time", [reset], { read: ["unavailable", 4], keyed: ["outcome_unknown", 4], plain: ["outcome_unknown", 1], once: ["outcome_unknown", 1] }],
  ["a proxy's 502", [proxy(502), ok], { read: ['"done"', 2], keyed: ['"done"', 2], plain: ["outcome_unknown", 1], once: ["outcome_unknown", 1] }],
  ["lost, then never left", [reset, refused], { read: ["unavailable", 4], keyed: ["outcome_unknown", 4], plain: ["outcome_unknown", 1], once: ["outcome_unknown", 1] }],
  ["lost, then refused", [reset, unique], { read: ["sql_error", 2], keyed: ["sql_error", 2], plain: ["outcome_unknown", 1], once: ["outcome_unknown", 1] }],
  ["the node does not know", [unknown, ok], { read: ['"done"', 2], keyed: ['"done"', 2], plain: ["outcome_unknown", 1], once: ["outcome_unknown", 1] }],
  ["too late", [late, ok], { read: ["timed_out", 1], keyed: ["outcome_unknown", 1], plain: ["outcome_unknown", 1], once: ["outcome_unknown", 1] }],
  ["another program at that port", [proxy(404)], { read: ["not_found", 1], keyed: ["not_found", 1], plain: ["not_found", 1], once: ["not_found", 1] }],
];
for (const [name, outcomes, expected] of table) {
  test(`${name}`, async () => {
    for (const [kind, asked] of Object.entries({ read, keyed, plain, once })) {
      const found = await play(asked, ...outcomes);
      assert.deepEqual(found.is, expected[kind], kind);
    }
  });
}

test("it waits longer each time, and as long as the node says", async () => {
  assert.deepEqual((await play(read, refused)).pauses, [100, 200, 400]);
  assert.deepEqual((await play(read, busy)).pauses, [3000, 3000, 3000]);
});

test("an error has the node's words, SQLite's code and a status", async () => {
  const error = await exchange(async () => unique(), read).catch((found) => found);
  const { name, code, status, message, sqliteCode, hint, retryable } = error;
  assert.deepEqual({ name, code, status, message, sqliteCode, hint, retryable }, {
    name: "SqlError", code: "sql_error", status: 400, message: "UNIQUE", sqliteCode: "SQLITE_CONSTRAINT_UNIQUE", hint: "mend it", retryable: false,
  });
});

test("an expired stream is a Conflict: nothing of its transaction is in history", async () => {
  const body = { error: "x", message: "x", code: "STREAM_EXPIRED", virke: { code: "invalid", message: "expired" } };
  const found = await exchange(async () => new Response(JSON.stringify(body), { status: 404 }), once).catch((error) => error);
  assert.deepEqual([found.code, found.status, found.retryable], ["conflict", 409, true]);
});
