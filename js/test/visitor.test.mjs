// The visitor's bookmark, without a node.
import assert from "node:assert/strict";
import { test } from "node:test";
import { arrive, leave } from "../dist/visitor.js";

const MARK = "main.00000001.0000000000000003.7c9d1be4";
const from = (headers, by = "cookie", tenant) => arrive(new Headers(headers), by, tenant);

test("a visitor's bookmark comes in a cookie, or in a header", () => {
  assert.deepEqual([from({ cookie: `a=b; virke_bookmark=${MARK}; c=d` }).bookmark, from({ "virke-bookmark": MARK }, "header").bookmark], [MARK, MARK]);
});

test("it is taken from where it was agreed, and from nowhere else", () => {
  const both = { cookie: `virke_bookmark=${MARK}`, "virke-bookmark": "other" };
  assert.deepEqual([from(both).bookmark, from(both, "header").bookmark, from(both, false).bookmark], [MARK, "other", null]);
});

test("what can't be one is passed over", () => {
  for (const text of ["", "%zz", "a%20b", "%0d%0a", "x".repeat(300), "other:" + MARK]) {
    assert.equal(from({ cookie: `virke_bookmark=${text}` }).bookmark, null, text);
  }
});

test("that of one tenant is not sent to another", () => {
  const headers = { cookie: `virke_bookmark=${encodeURIComponent(`ann:${MARK}`)}` };
  assert.deepEqual([from(headers, "cookie", "ann").bookmark, from(headers, "cookie", "bob").bookmark, from(headers).bookmark], [MARK, null, null]);
  assert.equal(from({ cookie: `virke_bookmark=${MARK}` }, "cookie", "ann").bookmark, null);
});

test("an answer has one only if its request wrote", () => {
  const session = from({ cookie: `virke_bookmark=${MARK}` });
  session.saw(MARK, false);
  assert.equal(leave(session, "cookie", undefined), undefined);
  session.saw(MARK, true);
  session.saw(MARK, false);
  assert.deepEqual(leave(session, "cookie", undefined), ["set-cookie", `virke_bookmark=${MARK}; Path=/; Max-Age=60; HttpOnly; SameSite=Lax`]);
  assert.deepEqual(leave(session, "header", undefined), ["virke-bookmark", MARK]);
  assert.equal(leave(session, false, undefined), undefined);
});

test("what leaves comes back", () => {
  for (const tenant of [undefined, "ann"]) {
    const session = from({});
    session.saw(MARK, true);
    const [, cookie] = leave(session, "cookie", tenant);
    assert.equal(from({ cookie: cookie.split(";")[0] }, "cookie", tenant).bookmark, MARK);
  }
});

test("a session does not go back, but for a claim that was wrong", () => {
  const newer = MARK.replace("0003", "0004");
  const own = from({});
  own.saw(newer, false);
  own.saw(MARK, false);
  assert.equal(own.bookmark, newer);
  const claimed = from({ cookie: `virke_bookmark=${newer}` });
  claimed.saw(MARK, false);
  assert.equal(claimed.bookmark, MARK);
});
