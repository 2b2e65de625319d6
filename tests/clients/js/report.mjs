// Answers of a client as one JSON: each check's answer by its name, or the error that it threw.
const answers = {};

export async function check(name, ask) {
  try {
    answers[name] = shown(await ask());
  } catch (error) {
    answers[name] = { error: described(error) };
  }
}

export function print() {
  process.stdout.write(JSON.stringify(answers) + "\n");
}

// A value of JavaScript so that no two kinds look alike in JSON.
export function shown(value) {
  if (value === undefined) return { undefined: true };
  if (typeof value === "bigint") return { bigint: String(value) };
  if (typeof value === "number" && !Number.isFinite(value)) return { number: String(value) };
  if (typeof value === "function") return { function: true };
  if (value instanceof ArrayBuffer) return { blob: hex(new Uint8Array(value)) };
  if (ArrayBuffer.isView(value)) return { blob: hex(new Uint8Array(value.buffer, value.byteOffset, value.byteLength)) };
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map(shown);
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, shown(one)]));
}

export function described(error) {
  const { name, message, code, extendedCode, rawCode } = error;
  const cause = error.cause instanceof Error ? described(error.cause) : undefined;
  return Object.fromEntries(
    Object.entries({ name, message, code, extendedCode, rawCode, cause }).filter(([, value]) => value !== undefined),
  );
}

function hex(bytes) {
  return Buffer.from(bytes).toString("hex");
}

export async function caught(ask) {
  try {
    return shown(await ask());
  } catch (error) {
    return { error: described(error) };
  }
}
