// The page: which view the address names, the list of tables, and the token.

import { Database, databases, token } from './api.js';
import { errorBox, h, openDialog, say } from './dom.js';
import { describe, mayWrite, Rows } from './rows.js';
import { sqlView } from './sql.js';
import { quoted } from './values.js';
import { databasesView, schemaView, statusView, versionsView } from './views.js';

const COUNT_MS = 1000;
const main = document.getElementById('main');
const nav = document.getElementById('nav');
const chooser = document.getElementById('database');
const address = (...parts) => `#/${parts.map(encodeURIComponent).join('/')}`;

let database = null;  // the one that is looked at
let writable = null;  // whether its token may write: a promise, once it was asked
let counting = 0, listing = 0, showing = 0;  // what was asked for last: answers to what was asked for before come too late

/** The parts of the address: database, view, table. */
function place() {
  try {
    return location.hash.replace(/^#\/?/, '').split('/').filter(Boolean).map(decodeURIComponent);
  } catch {
    return [];
  }
}

/** Run what fills the page; a token that is missing or wrong is asked for. */
async function guarded(work) {
  try {
    return await work();
  } catch (error) {
    main.replaceChildren(errorBox(error));
    if (error.status === 401 && await askToken(token.get() ? 'This token is not good.' : 'This node wants a token.')) await start();
    return undefined;
  }
}

async function askToken(why) {
  const given = await openDialog('Token', (close) => {
    const field = h('input', { type: 'password', autocomplete: 'off', name: 'token', placeholder: 'vk_…', autofocus: true });
    return h('form', { onsubmit: (event) => { event.preventDefault(); close(field.value.trim()); } },
      h('p', {}, `${why} It is kept in this tab, and forgotten with it.`),
      h('label', {}, 'Token', field),
      h('div', { class: 'ends' },
        token.get() ? h('button', { type: 'button', class: 'danger', onclick: () => close('') }, 'Forget it') : null,
        h('button', { type: 'button', onclick: () => close() }, 'Cancel'),
        h('button', { type: 'submit', class: 'main' }, 'Use it')));
  });
  if (given === undefined) return false;
  token.set(given);
  return true;
}

async function openDatabase(name) {
  if (database?.name === name) return;
  database = new Database(name);
  writable = null;
  await listTables();
}

async function listTables() {
  const of = database, turn = ++listing;
  const [entries, listed] = await Promise.all([
    of.get('schema'),
    of.run('SELECT name, type FROM pragma_table_list WHERE schema = \'main\' AND type <> \'shadow\''),
  ]);
  if (turn !== listing || of !== database) return;
  const known = new Set(entries.filter(({ type }) => type === 'table' || type === 'view').map(({ name }) => name));
  const tables = listed.rows.filter(([name]) => known.has(name)).sort(([one], [other]) => one.localeCompare(other));
  const link = (text, ...parts) => h('li', {}, h('a', { href: address(of.name, ...parts) }, text));
  const counts = new Map();
  nav.replaceChildren(
    h('ul', { class: 'views' }, link('SQL', 'sql'), link('Schema', 'schema'), link('Versions', 'versions'), link('Status', 'status')),
    h('h2', {}, 'Tables'),
    tables.length ? h('ul', {}, tables.map(([name, type]) => {
      const shown = h('span', { class: 'count' }, type === 'view' ? 'view' : '');
      if (type !== 'view') counts.set(name, shown);
      return h('li', {}, h('a', { href: address(of.name, 'table', name) }, h('span', {}, name), shown));
    })) : h('p', { class: 'soft' }, 'none'));
  nav.hidden = false;
  mark();
  count(of, counts);
}

/** Count the rows of each table, one after the other; one that takes long is left. */
async function count(of, counts) {
  const turn = ++counting;
  for (const [name, shown] of counts) {
    if (turn !== counting) return;
    try {
      const found = await of.run(`SELECT count(*) FROM ${quoted(name)}`, [], { timeout_ms: COUNT_MS });
      shown.textContent = found.rows[0][0].toLocaleString('en');
    } catch (error) {
      shown.textContent = '?';
      shown.title = error.message;
    }
  }
}

/** Say in the list which view is open. */
function mark() {
  for (const link of nav.querySelectorAll('a')) {
    if (link.getAttribute('href') === address(...place())) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
}

async function tableView(into, name) {
  const of = database;
  const table = await describe(of, name);
  if (of !== database) return;
  if (!table.columns.length) throw new Error(`there is no table ${name}`);
  const isTable = table.key.length > 0;
  if (isTable) writable ??= mayWrite(of, name).catch((error) => { writable = null; throw error; });
  await new Rows(into, of, table, isTable && await writable).load();
}

/** Show what the address names. */
async function show() {
  const turn = ++showing;
  const isLast = () => turn === showing;
  const into = { replaceChildren: (...parts) => { if (isLast()) main.replaceChildren(...parts); } };
  try {
    await view(into, isLast);
  } catch (error) {
    if (isLast()) throw error;
  }
}

async function view(into, isLast) {
  const [name, kind = null, table] = place();
  document.title = [table ?? kind, name, 'Virke'].filter(Boolean).join(' · ');
  chooser.parentElement.hidden = !name;
  nav.hidden = !name;
  if (!name) {
    database = null;
    return databasesView(into);
  }
  if (chooser.value !== name) chooser.value = name;
  await openDatabase(name);
  if (!isLast()) return undefined;
  mark();
  if (kind === 'table' && table) return tableView(into, table);
  if (kind === 'schema') return schemaView(into, database);
  if (kind === 'status') return statusView(into, database);
  if (kind === 'versions') {
    return versionsView(into, database, {
      look: (version) => { location.hash = address(name, 'sql', version); },
      restored: async () => { await listTables(); await show(); },
    });
  }
  return sqlView(into, database, { changed: () => listTables().catch((error) => say(`The list of tables is old: ${error.message}`)), at: table });
}

async function start() {
  database = null;
  await guarded(async () => {
    const names = await databases();
    const [name] = place();
    chooser.replaceChildren(...names.map((one) => h('option', {}, one)));
    if (name && !names.includes(name)) chooser.append(h('option', {}, name));
    if (!name && names.length === 1) history.replaceState(null, '', address(names[0]));
    await show();
  });
}

chooser.addEventListener('change', () => { location.hash = address(chooser.value); });
document.getElementById('token').addEventListener('click', async () => { if (await askToken('The token that requests show.')) await start(); });
window.addEventListener('hashchange', async () => {
  await guarded(show);
  if (!main.contains(document.activeElement)) main.focus({ preventScroll: true });  // else somebody is at work there
});
document.querySelector('.skip').addEventListener('click', (event) => { event.preventDefault(); main.focus(); });
start();
