// The rows of one table: a page at a time, sorted, edited, inserted and deleted. Each change is one statement with parameters.

import { confirmed, errorBox, h, openDialog, say } from './dom.js';
import { grid, valueField } from './grid.js';
import { quoted, textOf } from './values.js';

const PAGE_ROWS = 50;
const WHOLE_BYTES = 4096;
const BEGINNING = 200;
const DEFAULT = 'DEFAULT';

/** What a table is made of, and what names a row: the rowid, or the primary key; nothing for a view. */
export async function describe(database, name) {
  const [listed, info] = await Promise.all([
    database.run('SELECT type, wr FROM pragma_table_list WHERE schema = \'main\' AND name = ?', [name]),
    database.run('SELECT name, type, pk, hidden FROM pragma_table_xinfo(?) WHERE hidden <> 1', [name]),
  ]);
  const [type = 'table', withoutRowid = 0] = listed.rows[0] ?? [];
  const columns = info.rows.map(([column, declared, pk, hidden]) => ({ name: column, type: declared, pk, generated: hidden !== 0 }));
  const taken = new Set(columns.map((column) => column.name.toLowerCase()));
  const rowid = withoutRowid || type === 'view' ? undefined : ['rowid', '_rowid_', 'oid'].find((one) => !taken.has(one));
  const primary = columns.filter((column) => column.pk).sort((one, other) => one.pk - other.pk).map((column) => quoted(column.name));
  const key = type === 'view' ? [] : rowid ? [rowid] : primary;
  return { name, type, columns, key };
}

/** Whether the token may write: a write of nothing makes no version and asks the store nothing, but it is refused. */
export async function mayWrite(database, table) {
  try {
    await database.run(`DELETE FROM ${quoted(table)} WHERE 0`);
    return true;
  } catch (error) {
    if (error.status === 403) return false;
    throw error;
  }
}

/** Show the rows of a table in `place`. Rows that arrive while a value is edited wait for its end: a late answer closes no editor. */
export class Rows {
  constructor(place, database, table, writable) {
    Object.assign(this, { place, database, table, writable: writable && table.key.length > 0 });
    this.sort = null;
    this.turns = 0;  // how often rows were asked for: only the last answer is shown
    this.grid = null;
    this.due = false;  // whether rows arrived that were not shown
    this.starts = [null];  // of each page up to this one: where the one before it ended
    this.problem = h('div', {});
    this.body = h('div', {}, h('p', { class: 'soft' }, 'Reading …'));
    this.bar = h('div', { class: 'bar' });
    place.replaceChildren(this.bar, this.problem, this.body);
  }

  get where() { return this.table.key.map((column) => `${column} IS ?`).join(' AND '); }

  /** The page as a query: by the key where rows are in its order, else by counting. */
  query() {
    const { columns, key, name } = this.table;
    const parts = columns.map(({ name: one }) => {
      const column = quoted(one);
      return `iif(octet_length(${column}) > ${WHOLE_BYTES}, substr(${column}, 1, ${BEGINNING}), ${column})`;
    });
    const lengths = columns.map(({ name: one }) => `nullif(max(octet_length(${quoted(one)}), ${WHOLE_BYTES}), ${WHOLE_BYTES})`);
    const order = [...(this.sort ? [`${quoted(this.sort.column)} ${this.sort.down ? 'DESC' : 'ASC'}`] : []), ...key];
    const start = this.starts.at(-1);
    const byKey = !this.sort && key.length === 1;
    const params = byKey ? (start === null ? [] : [start]) : [];
    const sql = `SELECT ${[...key, ...parts].join(', ')}, json_array(${lengths.join(', ')}) FROM ${quoted(name)}`
      + (params.length ? ` WHERE ${key[0]} > ?` : '')
      + (order.length ? ` ORDER BY ${order.join(', ')}` : '')
      + ` LIMIT ${PAGE_ROWS + 1}`
      + (byKey ? '' : ` OFFSET ${(this.starts.length - 1) * PAGE_ROWS}`);
    return [sql, params];
  }

  async load(at = null) {
    const turn = ++this.turns;
    try {
      const found = await this.database.run(...this.query());
      if (turn !== this.turns) return;
      this.due = this.grid?.editors.size > 0;
      if (this.due) return;
      this.show(found, at ?? this.grid?.at());
      this.problem.replaceChildren();
    } catch (error) {
      if (turn === this.turns) this.fail(error);
    }
  }

  /** An editor was closed: show what waited for it. */
  closed() {
    if (this.due && !this.grid.editors.size) this.load();
  }

  fail(error) {
    this.problem.replaceChildren(errorBox(error));
    if (this.body.firstChild?.tagName === 'P') this.body.replaceChildren();
  }

  show(found, at) {
    const { columns, key } = this.table;
    const hasMore = found.rows.length > PAGE_ROWS;
    const rows = found.rows.slice(0, PAGE_ROWS);
    this.keys = rows.map((row) => row.slice(0, key.length));
    this.values = rows.map((row) => {
      const lengths = JSON.parse(row.at(-1));
      return columns.map((_, column) => ({ value: row[key.length + column], bytes: lengths[column] }));
    });
    const { values } = this;
    this.grid = grid({
      label: `Rows of ${this.table.name}`,
      columns: columns.map((column) => ({
        name: column.name,
        type: column.type,
        editable: !column.generated,
        sort: this.sort?.column === column.name ? (this.sort.down ? 'descending' : 'ascending') : null,
        onsort: () => this.sortBy(column.name),
      })),
      rows: this.values,
      editing: this.writable ? {
        value: (row, column) => this.whole(row, column),
        save: (row, column, before, value) => this.update(row, column, before, value),
        saved: (row, column, value) => {
          values[row][column] = { value, bytes: null };
          this.load();
        },
        closed: () => this.closed(),
      } : null,
      actions: this.writable ? (row) => h('button', {
        type: 'button', class: 'quiet danger', 'aria-label': `Delete row ${this.keys[row].map(textOf).join(', ')}`, onclick: () => this.remove(row),
      }, 'Delete') : null,
    });
    const first = (this.starts.length - 1) * PAGE_ROWS;
    const range = rows.length ? `Rows ${first + 1} to ${first + rows.length}` : 'No rows';
    this.bar.replaceChildren(...[
      h('h1', {}, this.table.name),
      h('span', { class: 'soft' }, range),
      h('button', { type: 'button', disabled: this.starts.length === 1, onclick: () => this.turn(-1) }, 'Previous'),
      h('button', { type: 'button', disabled: !hasMore, onclick: () => this.turn(1) }, 'Next'),
      this.writable ? h('button', { type: 'button', class: 'main', onclick: () => this.insert() }, 'Insert') : null,
    ].filter(Boolean));
    const note = this.writable ? 'Enter or a double click edits a value.' : this.table.key.length ? 'This token only reads.' : 'A view can\'t be edited here.';
    this.body.replaceChildren(this.grid.element, h('p', { class: 'soft' }, note));
    if (at) this.grid.focus(...at);
  }

  sortBy(column) {
    const now = this.sort?.column === column ? this.sort : null;
    this.sort = !now ? { column, down: false } : now.down ? null : { column, down: true };
    this.starts = [null];
    this.leave();
  }

  turn(step) {
    if (step > 0) this.starts.push(this.keys.at(-1)?.[0] ?? null);
    else this.starts.pop();
    this.leave([0, 0]);
  }

  /** Load other rows: what is being edited is left. */
  leave(at = null) {
    this.due = false;
    this.grid.close();
    this.load(at);
  }

  /** The whole value of a cell: of a long one only the beginning was read. */
  async whole(row, column) {
    const cell = this.values[row][column];
    if (cell.bytes === null) return cell.value;
    const name = quoted(this.table.columns[column].name);
    const found = await this.database.run(`SELECT ${name} FROM ${quoted(this.table.name)} WHERE ${this.where}`, this.keys[row]);
    if (!found.rows.length) throw new Error('this row is not there any more');
    return found.rows[0][0];
  }

  /** Change one value, if it still is what was shown. */
  async update(row, column, before, value) {
    const name = quoted(this.table.columns[column].name);
    const sql = `UPDATE ${quoted(this.table.name)} SET ${name} = ? WHERE ${this.where} AND ${name} IS ?`;
    const done = await this.database.run(sql, [value, ...this.keys[row], before]);
    if (!done.rows_affected) throw new Error('nothing was changed: this value, or its row, was changed by another');
    say(`Saved as version ${done.version}`);
  }

  async remove(row) {
    const { grid: shown, keys } = this;
    const key = keys[row].map(textOf).join(', ');
    if (!await confirmed('Delete this row?', `Row ${key} of ${this.table.name} will be deleted.`, 'Delete')) return;
    try {
      const done = await this.database.run(`DELETE FROM ${quoted(this.table.name)} WHERE ${this.where}`, keys[row]);
      shown.drop(row);
      say(done.rows_affected ? `Deleted, version ${done.version}` : 'It was deleted already');
      await this.load([row, 0]);
    } catch (error) {
      this.fail(error);
    }
  }

  async insert() {
    const columns = this.table.columns.filter((column) => !column.generated);
    const done = await openDialog(`New row of ${this.table.name}`, (close) => {
      const fields = columns.map((column) => valueField(column.name, undefined, { declared: column.type, other: DEFAULT }));
      const problem = h('div', {});
      const save = h('button', { type: 'submit', class: 'main' }, 'Insert');
      return h('form', {
        onsubmit: async (event) => {
          event.preventDefault();
          save.disabled = true;
          try {
            close(await this.add(columns, fields));
          } catch (error) {
            problem.replaceChildren(errorBox(error));
            save.disabled = false;
          }
        },
      }, fields.map((field, at) => {
        field.kind.addEventListener('change', () => field.text.focus());
        if (at === 0) field.text.autofocus = true;
        field.text.disabled = false;  // typing a text chooses the kind of the column
        field.text.addEventListener('input', () => { if (field.is(DEFAULT)) field.kind.value = field.type; });
        const type = columns[at].type;
        return h('div', { class: 'field' },
          h('div', { class: 'bar' }, h('span', { class: 'name' }, columns[at].name, type ? h('span', { class: 'soft' }, ` ${type}`) : null), field.kind),
          field.text);
      }), problem, h('div', { class: 'ends' }, h('button', { type: 'button', onclick: () => close() }, 'Cancel'), save));
    });
    if (done) {
      say(`Inserted as version ${done.version}`);
      await this.load();
    }
  }

  add(columns, fields) {
    const given = columns.map((column, at) => ({ column, field: fields[at] })).filter(({ field }) => !field.is(DEFAULT));
    const into = `INSERT INTO ${quoted(this.table.name)}`;
    if (!given.length) return this.database.run(`${into} DEFAULT VALUES`);
    const names = given.map(({ column }) => quoted(column.name)).join(', ');
    const params = given.map(({ column, field }) => {
      try {
        return field.read();
      } catch (error) {
        throw new Error(`${column.name}: ${error.message}`);
      }
    });
    return this.database.run(`${into} (${names}) VALUES (${given.map(() => '?').join(', ')})`, params);
  }
}
