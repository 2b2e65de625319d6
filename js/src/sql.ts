// What has to be known of a statement's text: whether it only reads, and whether it can carry a key.
//
// Knows SQL's words; asks no SQLite. A text that looks like none of these is a write.

const SPACE_OR_COMMENT = /^(?:[\s;\uFEFF]|--[^\n]*|\/\*[\s\S]*?(?:\*\/|$))+/;
const TOKEN = /\s+|--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)|'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|[\w$]+|[\s\S]/g;
const PASSED_OVER = /^(?:\s|--|\/\*|\uFEFF)/;
const READS = new Set(["SELECT", "VALUES", "EXPLAIN"]);
const ROWS = new Set(["INSERT", "REPLACE", "UPDATE", "DELETE"]);
const SCHEMA = new Set(["CREATE", "DROP", "ALTER"]);
const ALONE = new Set(["PRAGMA", "VACUUM"]);

/** The first word of a statement in capitals, past white space, comments and `;`. */
function keyword(sql: string): string {
  return (/^\w*/.exec(sql.replace(SPACE_OR_COMMENT, ""))?.[0] ?? "").toUpperCase();
}

/** The first word; of a statement that begins with WITH the word that says what it does. */
function verb(sql: string): string {
  const first = keyword(sql);
  if (first !== "WITH") return first;
  let depth = 0;
  for (const text of words(sql)) {
    depth += Number(text === "(") - Number(text === ")");
    const word = text.toUpperCase();
    if (depth === 0 && (READS.has(word) || ROWS.has(word))) return word;
  }
  return first;
}

/** Whether a statement can't write. */
export function readsOnly(sql: string): boolean {
  return READS.has(verb(sql));
}

/** Whether an answered statement may have written: a PRAGMA without a value only asks. */
export function mayHaveWritten(sql: string): boolean {
  return !readsOnly(sql) && (keyword(sql) !== "PRAGMA" || sql.includes("="));
}

/** Whether a statement is one of the schema. */
export function changesSchema(sql: string): boolean {
  return SCHEMA.has(keyword(sql));
}

/** Whether a write can carry an idempotency key: what can't be part of a transaction can't. */
export function takesKey(sql: string): boolean {
  return !ALONE.has(keyword(sql));
}

/** Words and signs, without white space and comments. */
function* words(sql: string): Generator<string> {
  for (const [text] of sql.matchAll(TOKEN)) if (!PASSED_OVER.test(text)) yield text;
}

/** The statements of a script. A trigger's body ends with `; END ;`, as SQLite's own shell has it. */
export function split(script: string): string[] {
  const found: string[] = [];
  let text = "";
  let statement: string[] = [];
  for (const [token] of script.matchAll(TOKEN)) {
    text += token;
    if (PASSED_OVER.test(token) || (token === ";" && !statement.length)) continue;
    const isTrigger = statement[0] === "CREATE" && statement.slice(1, 3).includes("TRIGGER");
    if (token === ";" && (!isTrigger || (statement.at(-1) === "END" && statement.at(-2) === ";"))) {
      found.push(text.trim());
      text = "";
      statement = [];
    } else {
      statement.push(token.toUpperCase());
    }
  }
  return statement.length ? [...found, text.trim()] : found;
}
