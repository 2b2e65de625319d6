// Values: the golden ones of vectors/http-1, and what JavaScript has besides.
import assert from "node:assert/strict";
import { test } from "node:test";
import { decode, encode, encodeAll, parse } from "../dist/values.js";
import { meant, vectors } from "./golden.mjs";

for (const vector of vectors) {
  test(`a golden value is read: ${vector.name}`, () => {
    const [text] = [JSON.stringify(vector.json)];
    for (const integers of ["number", "bigint", "string"]) {
      const expected = meant(vector, integers);
      const read = () => decode(parse(vector.source, integers), integers);
      if (expected instanceof Error) assert.throws(read, { code: "invalid", message: new RegExp(expected.message) }, integers);
      else assert.deepEqual(read(), expected, `${integers}: ${text}`);
    }
  });
  if (vector.hex === undefined || vector.type === "blob") {
    test(`a golden value is written: ${vector.name}`, () => {
      const value = meant(vector, "bigint");
      const written = encode(value, "it");
      const exact = typeof value === "bigint" ? { int64: vector.text } : wholeReal(value) ?? vector.json;
      assert.deepEqual(written, exact);
    });
  }
}

function wholeReal(value) {
  if (typeof value !== "number" || Number.isSafeInteger(value) || !Number.isInteger(value)) return undefined;
  return { real: String(value) };
}

const bytes = new Uint8Array([9, 0, 255, 16, 9]);
const table = [
  ["a number", 7, 7],
  ["a real", -2.5, -2.5],
  ["a whole number beyond exact ones is a REAL", 1e20, { real: "100000000000000000000" }],
  ["minus zero", -0, { real: "-0.0" }],
  ["NaN", Number.NaN, { real: "NaN" }],
  ["infinity", -Infinity, { real: "-Infinity" }],
  ["a BigInt", 5n, { int64: "5" }],
  ["true", true, true],
  ["false", false, false],
  ["null", null, null],
  ["text", "né 😀", "né 😀"],
  ["a Date", new Date(0), "1970-01-01T00:00:00.000Z"],
  ["bytes", bytes.subarray(1, 4), { base64: "AP8Q" }],
  ["a buffer", bytes.slice(1, 4).buffer, { base64: "AP8Q" }],
  ["a Node Buffer", Buffer.from([0, 255, 16]), { base64: "AP8Q" }],
  ["a DataView", new DataView(bytes.buffer, 1, 3), { base64: "AP8Q" }],
];
for (const [name, value, json] of table) {
  test(`a parameter: ${name}`, () => {
    const found = encode(value, "it");
    assert.deepEqual(found, json);
    assert.ok(Object.is(found, json) || typeof json === "object");
  });
}

test("bytes of any number are written and read", () => {
  const long = crypto.getRandomValues(new Uint8Array(60_000)).map((one, at) => one ^ at);
  const many = new Uint8Array(300_000).map((_, at) => long[at % long.length]);
  assert.deepEqual(decode(encode(many, "it"), "number"), many);
});

const refused = [
  ["undefined", undefined, /parameter 1 is undefined/],
  ["a BigInt of 64 bits and one more", 2n ** 63n, /64-bit/],
  ["one too small", -(2n ** 63n) - 1n, /64-bit/],
  ["a Date that is none", new Date("x"), /Date/],
  ["text with half a character", "a\ud800", /Unicode/],
  ["text with the other half", "\udcff", /Unicode/],
  ["an object", { a: 1 }, /an object/],
  ["a list", [1], /a list/],
  ["a function", () => 1, /function/],
  ["a symbol", Symbol("x"), /symbol/],
];
for (const [name, value, message] of refused) {
  test(`no parameter: ${name}`, () => {
    assert.throws(() => encodeAll([value]), { name: "Invalid", code: "invalid", status: 400, message });
  });
}

test("parameters are a list, and a hole in it is undefined", () => {
  assert.throws(() => encodeAll({ a: 1 }), /must be a list/);
  assert.throws(() => encodeAll("ab"), /must be a list/);
  assert.throws(() => encodeAll(null), /must be a list/);
  assert.throws(() => encodeAll([1, , 3]), /parameter 2 is undefined/);
});

test("text that looks like a number stays text in every mode", () => {
  const text = '["1", "a\\"2", {"base64": "AP8Q"}, -3, 2.0, 1e5]';
  assert.deepEqual(parse(text, "bigint"), ["1", 'a"2', { base64: "AP8Q" }, { int64: "-3" }, 2, 1e5]);
});

test("what is no value is a TypeError, not a value", () => {
  for (const wrong of [[], {}, { int64: 5 }, { other: "5" }]) assert.throws(() => decode(wrong, "number"), TypeError);
});
