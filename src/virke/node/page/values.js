// SQLite's values: as JSON from the API (docs/http.md, Values), as text for people, and back without loss.

/** A REAL by the digits it was sent with: a JavaScript number can't tell 1.0 from 1. */
export class Real {
  constructor(source) { this.source = source; }
  valueOf() { return Number(this.source); }
  toString() { return this.source; }
  toJSON() { return { real: this.source }; }
}

/** JSON, with REALs kept as `Real` where the browser shows the source of a number. */
export function parse(text) {
  return JSON.parse(text, (key, value, context) =>
    typeof value === 'number' && context && /[.eE]/.test(context.source) ? new Real(context.source) : value);
}

export const KINDS = ['NULL', 'INTEGER', 'REAL', 'TEXT', 'BLOB', 'TEXT (bytes)'];

/** Which of KINDS a value is. */
export function kindOf(value) {
  if (value === null) return 'NULL';
  if (value instanceof Real) return 'REAL';
  if (typeof value === 'number') return Number.isInteger(value) ? 'INTEGER' : 'REAL';
  if (typeof value === 'string') return 'TEXT';
  if ('int64' in value) return 'INTEGER';
  if ('real' in value) return 'REAL';
  return 'base64' in value ? 'BLOB' : 'TEXT (bytes)';
}

function hexOf(base64) {
  return Array.from(atob(base64), (char) => char.charCodeAt(0).toString(16).padStart(2, '0')).join('');
}

/** The text that is edited: numbers by their digits, bytes as hexadecimal. */
export function textOf(value) {
  switch (kindOf(value)) {
    case 'NULL': return '';
    case 'BLOB': return hexOf(value.base64);
    case 'TEXT (bytes)': return hexOf(value.text_base64);
    default: return String(typeof value === 'object' ? value.int64 ?? value.real ?? value : value);
  }
}

function integer(text) {
  if (!/^[+-]?\d{1,19}$/.test(text)) throw new Error(`${text || 'nothing'} is not an integer`);
  const number = BigInt(text.replace(/^\+/, ''));
  if (number !== BigInt.asIntN(64, number)) throw new Error(`${text} does not fit in 64 bits`);
  return Number.isSafeInteger(Number(number)) ? Number(number) : { int64: number.toString() };
}

function real(text) {
  if (/^[+-]?inf(inity)?$/i.test(text)) return { real: text.startsWith('-') ? '-Infinity' : 'Infinity' };
  const found = /^([+-]?)(\d*)(\.\d*)?(e[+-]?\d+)?$/i.exec(text);
  if (!found || !/\d/.test((found[2] ?? '') + (found[3] ?? ''))) throw new Error(`${text || 'nothing'} is not a number`);
  return new Real(`${found[1]}${found[2] || '0'}${found[3] ?? ''}${found[4] ?? ''}`);
}

function base64Of(hex) {
  const plain = hex.replace(/\s+/g, '');
  if (!/^([0-9a-f]{2})*$/i.test(plain)) throw new Error('bytes are written as pairs of hexadecimal digits');
  return btoa(Array.from(plain.matchAll(/../g), ([pair]) => String.fromCharCode(parseInt(pair, 16))).join(''));
}

/** The value that a kind and a text mean. Throws an Error that says what is wrong. */
export function valueOf(kind, text) {
  switch (kind) {
    case 'NULL': return null;
    case 'INTEGER': return integer(text.trim());
    case 'REAL': return real(text.trim());
    case 'BLOB': return { base64: base64Of(text) };
    case 'TEXT (bytes)': return { text_base64: base64Of(text) };
    default: return text;
  }
}

/** The kind that a new value of a column most likely has, by its declared type. */
export function kindFor(declared) {
  const type = (declared ?? '').toUpperCase();
  if (type.includes('INT')) return 'INTEGER';
  if (/CHAR|CLOB|TEXT/.test(type)) return 'TEXT';
  if (type.includes('BLOB')) return 'BLOB';
  return /REAL|FLOA|DOUB/.test(type) ? 'REAL' : 'TEXT';
}

/** A name as SQL has it. */
export const quoted = (name) => `"${name.replaceAll('"', '""')}"`;

/** Bytes for people. */
export function size(bytes) {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  let amount = Number(bytes), at = 0;
  while (amount >= 1024 && at < units.length - 1) { amount /= 1024; at += 1; }
  return `${at ? amount.toFixed(1) : amount} ${units[at]}`;
}
