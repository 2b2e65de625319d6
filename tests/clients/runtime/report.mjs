// Answers as one JSON, as those of `../js`; of an error only what D1's have too: its message, and that of its cause.
import { shown as simply } from "./js_report.mjs";

const answers = {};

export async function check(name, ask) {
  try {
    answers[name] = shown(await ask());
  } catch (error) {
    answers[name] = { error: words(error) };
  }
}

export function print() {
  process.stdout.write(JSON.stringify(answers) + "\n");
}

function shown(value) {
  if (value instanceof Date) return { date: value.toISOString() };
  if (Array.isArray(value)) return value.map(shown);
  if (value?.constructor === Object) return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, shown(one)]));
  return simply(value);
}

function words({ message, cause }) {
  return cause instanceof Error ? [message, ...words(cause).slice(0, 1)] : [message];
}
