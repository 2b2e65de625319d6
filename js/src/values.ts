// SQLite's values as the JSON of docs/http.md and back: what JSON has no word for is an object with one key.
//
// 1. No value is changed on the way: what JavaScript can't hold exactly is an error with a hint, never another value.
// 2. What is no value of SQLite's is an error here, before anything is sent; `undefined` too, which is most often a missing field.

import { invalid, wrongValue } from "./errors.js";

/** How INTEGERs are given: numbers (an error where one is not exact), BigInts, or their digits. */
export type Integers = "number" | "bigint" | "string";
export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

const INT64_MIN = -(1n << 63n);
const INT64_MAX = (1n << 63n) - 1n;
const CHUNK = 0x8000;
const LONE_SURROGATE = /\p{Surrogate}/u;
const STRING_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g;

/** One parameter as JSON. `where` names it in the error. */
export function encode(value: unknown, where: string): Json {
  switch (typeof value) {
    case "string":
      if (LONE_SURROGATE.test(value)) throw wrongValue(`${where} is text that is not valid Unicode`);
      return value;
    case "number":
      return encodeNumber(value);
    case "boolean":
      return value;
    case "bigint":
      if (value < INT64_MIN || value > INT64_MAX) throw wrongValue(`${where} does not fit SQLite's 64-bit integers: ${value}`);
      return { int64: String(value) };
    case "undefined":
      throw wrongValue(`${where} is undefined`, "give null for NULL; is a field missing in what was sent?");
    case "object":
      return encodeObject(value, where);
    default:
      throw wrongValue(`${where} is a ${typeof value}, which is no value of SQLite's`);
  }
}

function encodeNumber(value: number): Json {
  if (Number.isSafeInteger(value) && !Object.is(value, -0)) return value;
  if (Number.isFinite(value) && !Number.isInteger(value)) return value;
  return { real: Object.is(value, -0) ? "-0.0" : String(value) }; // whole, but no exact integer: a REAL
}

function encodeObject(value: object | null, where: string): Json {
  if (value === null) return null;
  if (value instanceof Date) {
    if (Number.isNaN(value.getTime())) throw wrongValue(`${where} is a Date that is not valid`);
    return value.toISOString();
  }
  if (value instanceof ArrayBuffer) return { base64: base64Of(new Uint8Array(value)) };
  if (ArrayBuffer.isView(value)) return { base64: base64Of(new Uint8Array(value.buffer, value.byteOffset, value.byteLength)) };
  const kind = Array.isArray(value) ? "a list" : "an object";
  throw wrongValue(`${where} is ${kind}, which is no value of SQLite's`, "JSON.stringify makes text of it");
}

/** Parameters by place as JSON. */
export function encodeAll(params: unknown): Json[] {
  if (!Array.isArray(params)) throw invalid("parameters must be a list: query(sql, [value, …])");
  return Array.from(params, (value, at) => encode(value, `parameter ${at + 1}`)); // a hole is undefined
}

/** One value of an answer. */
export function decode(value: Json, integers: Integers): unknown {
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) throw new TypeError("a list is no value");
  const [name, text] = Object.entries(value)[0] ?? [];
  if (typeof text !== "string") throw new TypeError("not a value");
  switch (name) {
    case "int64":
      return decodeInteger(text, integers);
    case "real":
      return Number(text);
    case "base64":
      return bytesOf(text);
    case "text_base64":
      throw invalid("a value is TEXT that is not UTF-8, which JavaScript has no string for", "read its bytes: CAST(x AS BLOB)");
    default:
      throw new TypeError("not a value");
  }
}

function decodeInteger(digits: string, integers: Integers): unknown {
  if (integers === "string") return digits;
  if (integers === "bigint") return BigInt(digits);
  throw invalid(
    `the integer ${digits} is beyond 2^53, so a number of JavaScript's can't hold it`,
    "virke({ integers: 'bigint' }), or 'string', or CAST(x AS TEXT)",
  );
}

/** The JSON of an answer. Other than as numbers, integers are told from reals by their digits: each is an `int64`. */
export function parse(text: string, integers: Integers): Json {
  if (integers === "number") return JSON.parse(text) as Json;
  const tagged = text.replace(STRING_OR_NUMBER, (found) => (/["./eE]/.test(found) ? found : `{"int64":"${found}"}`));
  return JSON.parse(tagged) as Json;
}

/** A number that is not a value of the database: a count, a version, a rowid that may be large. */
export function count(value: Json | undefined): number {
  if (typeof value === "number") return value;
  const digits = value && typeof value === "object" && !Array.isArray(value) ? value["int64"] : undefined;
  if (typeof digits !== "string") throw new TypeError("not a number");
  return Number(digits);
}

export function base64Of(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += CHUNK) text += String.fromCharCode(...bytes.subarray(at, at + CHUNK));
  return btoa(text);
}

export function bytesOf(base64: string): Uint8Array {
  return Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
}
