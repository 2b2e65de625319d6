// What a visitor is answered: `getResponse` is what Hono's default error handler looks for.
import assert from "node:assert/strict";
import { test } from "node:test";
import * as errors from "../dist/errors.js";

const { errorOf, VirkeError } = errors;
const table = [
  ["invalid", { isVisitors: true }, 400, "Invalid"],
  ["sql_error", { sqliteCode: "SQLITE_CONSTRAINT_UNIQUE" }, 400, "SqlError"],
  ["sql_error", { sqliteCode: "SQLITE_CONSTRAINT_NOTNULL" }, 400, "SqlError"],
  ["sql_error", { sqliteCode: "SQLITE_MISMATCH" }, 400, "SqlError"],
  ["conflict", {}, 409, "Conflict"],
  ["busy", { retryAfterS: 7 }, 429, "Busy"],
  ["unavailable", {}, 503, "Unavailable"],
  ["timed_out", {}, 504, "TimedOut"],
  ["outcome_unknown", {}, 504, "OutcomeUnknown"],
];
for (const [code, details, status, name] of table) {
  test(`a visitor is answered ${status} for ${code} ${details.sqliteCode ?? ""}`, async () => {
    const error = errorOf(code, "words", details);
    assert.ok(error instanceof VirkeError && error instanceof errors[name] && "getResponse" in error);
    assert.deepEqual([error.status, error.name], [status, name]);
    const response = error.getResponse();
    const { error: said } = await response.json();
    assert.deepEqual([response.status, said.code, response.headers.get("content-type")], [status, code, "application/json"]);
    assert.equal(response.headers.get("retry-after"), { 429: "7", 503: "1" }[status] ?? null);
    assert.equal(said.message === "words", [400, 409].includes(status));
  });
}

const ours = ["invalid", "denied", "not_found", "exists", "too_large", "corrupt", "error"].map((code) => [code, {}]);
for (const [code, details] of [...ours, ["sql_error", { sqliteCode: "SQLITE_ERROR" }], ["sql_error", {}]]) {
  test(`a visitor can do nothing about ${code}: it is for the log`, () => {
    assert.equal("getResponse" in errorOf(code, "words", details), false);
  });
}

test("a code that is not known is an error without a class of its own", () => {
  for (const code of ["news", "toString", "__proto__"]) assert.deepEqual([errorOf(code, "x").code, errorOf(code, "x").name], ["error", "VirkeError"]);
});
