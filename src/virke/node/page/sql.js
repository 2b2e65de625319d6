// The box for statements: rows, what it cost, and SQLite's plan.

import { errorBox, h } from './dom.js';
import { grid } from './grid.js';
import { size } from './values.js';

const TOKEN = /\s+|--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)|'(?:[^']|'')*'?|"(?:[^"]|"")*"?|`(?:[^`]|``)*`?|\[[^\]]*\]?|;|[^\s;'"`[\/-]+|[\s\S]/g;
const BLANK = /^(?:\s|--|\/\*)/;
const ROWS_SHOWN = 1000;

/** Whether a text is more than one statement. A trigger's body looks like it, and is run as a script too, which does the same. */
export function isScript(text) {
  const tokens = (text.match(TOKEN) ?? []).filter((token) => !BLANK.test(token));
  const end = tokens.indexOf(';');
  return end >= 0 && tokens.slice(end).some((token) => token !== ';');
}

const count = (number, noun) => `${number.toLocaleString('en')} ${noun}${number === 1 ? '' : 's'}`;

/** A receipt on one line, as `virke db query --meta` has it. */
export function receipt(meta) {
  return `${count(meta.round_trips, 'round trip')}, ${count(meta.requests, 'request')}, ${size(meta.bytes_down)} down, ${size(meta.bytes_up)} up, `
    + `${count(meta.cache_hits, 'cache hit')}, ${count(meta.pages_read, 'page')}; ${Number(meta.total_ms).toFixed(1)} ms`;
}

function planOf(rows) {
  const lists = new Map([[0, h('ul', { class: 'plan' })]]);
  for (const [id, parent, , detail] of rows) {
    const inner = h('ul', { class: 'plan' });
    lists.set(id, inner);
    (lists.get(parent) ?? lists.get(0)).append(h('li', {}, detail, inner));
  }
  return lists.get(0);
}

/** Show the box in `place`; `changed` is called when a statement may have changed the schema. */
export function sqlView(place, database, { changed, at = null }) {
  const kept = `virke-sql-${database.name}`;
  const text = h('textarea', { id: 'sql', spellcheck: 'false', 'aria-describedby': 'sql-keys', value: sessionStorage.getItem(kept) ?? '' });
  const version = h('input', { type: 'number', min: 1, step: 1, size: 8, placeholder: 'newest', value: at ?? '' });
  const answer = h('div', { id: 'answer', 'aria-live': 'polite' });
  const run = h('button', { type: 'submit', class: 'main' }, 'Run');

  async function plan(sql, details) {
    const found = await database.run(`EXPLAIN QUERY PLAN ${sql}`);
    details.append(found.rows.length ? planOf(found.rows) : h('p', { class: 'soft' }, 'SQLite has no plan for this statement.'));
  }

  function planBox(sql) {
    const details = h('details', { id: 'plan' }, h('summary', {}, 'Plan'));
    let isAsked = false;
    details.addEventListener('toggle', async () => {
      if (isAsked) return;
      isAsked = true;
      try {
        await plan(sql, details);
      } catch (error) {
        details.append(errorBox(error));
      }
    });
    return details;
  }

  async function execute() {
    const sql = text.value.trim();
    if (!sql) { text.focus(); return; }
    sessionStorage.setItem(kept, text.value);
    run.disabled = true;
    const hadPlan = answer.querySelector('#plan')?.open;
    answer.replaceChildren(h('p', { class: 'soft' }, 'Running …'));
    const script = isScript(sql), old = version.value;
    try {
      const found = await database.run(sql, [], { meta: true, ...(script ? { script } : {}), ...(old ? { at: Number(old) } : {}) });
      const parts = [];
      if (found.columns.length) {
        parts.push(grid({
          label: 'Rows of the statement',
          columns: found.columns.map((name, column) => ({ name, type: found.decltypes[column] })),
          rows: found.rows.slice(0, ROWS_SHOWN).map((row) => row.map((value) => ({ value }))),
        }).element);
      }
      const rows = found.columns.length ? count(found.rows.length, 'row') : `${count(found.rows_affected, 'row')} affected`;
      const only = found.rows.length > ROWS_SHOWN ? `, of which ${ROWS_SHOWN} are shown` : '';
      parts.push(h('p', { id: 'rows' }, `${rows}${only}, version ${found.version}`));
      if (found.meta) parts.push(h('p', { class: 'soft', id: 'receipt' }, receipt(found.meta)));
      const details = script ? null : planBox(sql);
      if (details) parts.push(details);
      answer.replaceChildren(...parts);
      if (details && hadPlan) details.open = true;
      if (!/^\s*(select|values|explain|with|pragma)\b/i.test(sql) || script) changed();
    } catch (error) {
      answer.replaceChildren(errorBox(error));
    }
    run.disabled = false;
  }

  const form = h('form', {
    onsubmit: (event) => { event.preventDefault(); execute(); },
    onkeydown: (event) => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey) && !run.disabled) { event.preventDefault(); execute(); }
    },
  },
  h('div', { class: 'bar' }, h('h1', {}, h('label', { for: 'sql' }, 'SQL'))),
  text,
  h('div', { class: 'bar' }, run, h('span', { class: 'soft', id: 'sql-keys' }, 'Ctrl+Enter or ⌘+Enter runs it; several statements are one transaction.'),
    h('label', { class: 'soft' }, 'As of version ', version)));
  place.replaceChildren(form, answer);
  text.focus();
}
