// A table of values: read, walked through with the arrow keys, and edited in place where that is allowed.

import { errorBox, h } from './dom.js';
import { KINDS, kindFor, kindOf, size, textOf, valueOf } from './values.js';

const SHOWN_CHARS = 400;
const SHOWN_DIGITS = 48;

/** What a cell shows; `bytes` is the length of a value of which only the beginning is known. */
export function shown(value, bytes = null) {
  const kind = kindOf(value);
  const rest = bytes === null ? null : h('span', { class: 'of' }, ` ${size(bytes)}`);
  if (kind === 'NULL') return h('span', { class: 'value of' }, 'NULL');
  const text = textOf(value);
  const most = kind === 'BLOB' || kind === 'TEXT (bytes)' ? SHOWN_DIGITS : SHOWN_CHARS;
  const cut = text.length > most ? `${text.slice(0, most)} …` : text;
  const length = rest ?? (text.length > most ? h('span', { class: 'of' }, ` ${size(text.length / 2)}`) : null);
  if (kind === 'BLOB') return h('span', { class: 'value odd' }, `X'${cut}'`, length);
  if (kind === 'TEXT (bytes)') return h('span', { class: 'value odd', title: 'text that is not UTF-8' }, `bytes ${cut}`, length);
  if (text === '') return h('span', { class: 'value of' }, 'empty text');
  return h('span', { class: 'value' }, cut, rest);
}

/** A field for one value: its kind and its text. `read()` is the value; it throws an Error that says what is wrong. */
export function valueField(label, value, { declared = null, other = null } = {}) {
  const text = h('textarea', { 'aria-label': label, rows: 1, spellcheck: 'false' });
  const kind = h('select', { 'aria-label': `${label}: kind` }, [...(other ? [other] : []), ...KINDS].map((one) => h('option', {}, one)));
  const fill = () => {
    const writes = kind.value !== 'NULL' && kind.value !== other;
    text.disabled = !writes;
    text.placeholder = !writes ? kind.value : kind.value === 'BLOB' || kind.value === 'TEXT (bytes)' ? 'hexadecimal digits' : '';
  };
  kind.value = value === undefined ? other ?? kindFor(declared) : kindOf(value);
  text.value = value === undefined ? '' : textOf(value);
  text.rows = Math.min(12, Math.max(1, text.value.split('\n').length));
  fill();
  kind.addEventListener('change', () => { fill(); if (!text.disabled) text.focus(); });
  return {
    text, kind,
    type: kindFor(declared),
    focus: () => (text.disabled ? kind : text).focus(),
    is: (name) => kind.value === name,
    read: () => valueOf(kind.value, text.value),
  };
}

/**
 * An editor in the place of a cell. `save(value)` may throw; `done()` is called when it is closed, `saved(value)` when the value was saved,
 * which may be after that.
 */
function edit(cell, label, value, { declared, save, saved, done }) {
  const field = valueField(label, value, { declared });
  if (kindOf(value) === 'NULL') {  // typing into a NULL begins a value
    field.kind.value = kindFor(declared);
    field.text.disabled = false;
  }
  const problem = h('div', {});
  const buttons = [
    h('button', { type: 'submit', class: 'main' }, 'Save'),
    h('button', { type: 'button', onclick: done }, 'Cancel'),
  ];
  const form = h('form', {
    class: 'editor',
    onsubmit: async (event) => {
      event.preventDefault();
      if (buttons[0].disabled) return;
      problem.replaceChildren();
      buttons[0].disabled = true;
      try {
        const changed = field.read();
        await save(changed);
        done();
        saved(changed);
      } catch (error) {
        problem.replaceChildren(errorBox(error));
        buttons[0].disabled = false;
      }
    },
    onkeydown: (event) => {
      event.stopPropagation();
      if (event.key === 'Escape') done();
      else if (event.key === 'Enter' && event.target === field.text && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        form.requestSubmit();
      }
    },
  }, field.text, h('div', { class: 'bar' }, field.kind, buttons), problem);
  cell.classList.add('editing');
  cell.replaceChildren(form);
  field.focus();
  field.text.select();
  cell.scrollIntoView({ block: 'nearest', inline: 'nearest' });
}

/**
 * A grid. `columns`: {name, type?, sort?, onsort?, editable?}; `rows`: arrays of {value, bytes?}; `editing`: {value(row, column), save(row, column, before, value),
 * saved(row, column, value), closed()}, or null; `actions(row)`: elements at the end of a row. `editors` are the cells that are being edited, also while their value
 * is on its way: who would put another grid in its place waits until there are none, which `closed` tells; `close` closes them.
 */
export function grid({ label, columns, rows, editing = null, actions = null }) {
  const cells = [], editors = new Map();
  const head = columns.map((column) => {
    const name = column.onsort
      ? h('button', { type: 'button', onclick: column.onsort }, column.name, { ascending: ' ▲', descending: ' ▼' }[column.sort] ?? '')
      : column.name;
    return h('th', { scope: 'col', 'aria-sort': column.sort ?? null }, name, column.type ? h('span', { class: 'type' }, column.type) : null);
  });
  const focus = (row, column) => {
    const cell = cells[Math.max(0, Math.min(row, cells.length - 1))]?.[Math.max(0, Math.min(column, columns.length - 1))];
    if (!cell) return;
    for (const one of cells.flat()) one.tabIndex = -1;
    cell.tabIndex = 0;
    cell.focus();
  };
  const begin = async (row, column) => {
    const cell = cells[row][column], declared = columns[column].type;
    if (!editing || !columns[column].editable || editors.has(cell)) return;
    const before = [...cell.childNodes];
    const done = () => {
      if (editors.get(cell) !== done) return;
      const had = cell.contains(document.activeElement) || document.activeElement === document.body;
      editors.delete(cell);
      cell.classList.remove('editing');
      cell.replaceChildren(...before);
      if (had) focus(row, column);  // else it is in another editor by now
      editing.closed();
    };
    editors.set(cell, done);
    try {
      const value = await editing.value(row, column);
      if (editors.get(cell) !== done) return;
      edit(cell, columns[column].name, value, {
        declared,
        done,
        save: (changed) => editing.save(row, column, value, changed),
        saved: (changed) => {
          before.splice(0, before.length, shown(changed));
          if (!editors.has(cell)) cell.replaceChildren(...before);
          editing.saved(row, column, changed);
        },
      });
    } catch (error) {
      if (editors.get(cell) !== done) return;
      done();
      cell.replaceChildren(...before, errorBox(error));
    }
  };
  const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const body = rows.map((row, at) => {
    cells.push(row.map(({ value, bytes = null }, column) => h('td', {
      class: ['INTEGER', 'REAL'].includes(kindOf(value)) ? 'number' : null,
      tabindex: at === 0 && column === 0 ? 0 : -1,
      ondblclick: () => begin(at, column),
      onkeydown: (event) => {
        if (event.target !== event.currentTarget) return;
        if (moves[event.key]) focus(at + moves[event.key][0], column + moves[event.key][1]);
        else if (event.key === 'Home' || event.key === 'End') focus(at, event.key === 'Home' ? 0 : columns.length - 1);
        else if (event.key === 'Enter' || event.key === 'F2') begin(at, column);
        else return;
        event.preventDefault();
      },
    }, shown(value, bytes))));
    return h('tr', {}, cells[at], actions ? h('td', { class: 'actions' }, actions(at)) : null);
  });
  const table = h('table', { role: 'grid', 'aria-label': label, 'aria-readonly': editing ? null : 'true' },
    h('thead', {}, h('tr', {}, head, actions ? h('th', { scope: 'col' }, h('span', { class: 'soft' }, '')) : null)),
    h('tbody', {}, body));
  const drop = (row) => {
    for (const cell of cells[row]) editors.get(cell)?.();
    cells[row][0].parentElement.remove();
  };
  const at = () => {
    const row = cells.findIndex((one) => one.includes(document.activeElement));
    return row < 0 ? null : [row, cells[row].indexOf(document.activeElement)];
  };
  return { element: h('div', { class: 'scroll' }, table), focus, at, drop, editors, close: () => { for (const done of [...editors.values()]) done(); } };
}
