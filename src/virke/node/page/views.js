// What else there is to look at: databases, the schema, versions, status.

import { databases } from './api.js';
import { confirmed, errorBox, h, say } from './dom.js';
import { size } from './values.js';

const VERSIONS = 50;
const BYTES = /_bytes(?=$|_per_day$)/;
const INSTANTS = new Set(['created_ms', 'last_commit_ms', 'gc_later_from_ms', 'gc_later_until_ms']);

const instant = (ms) => `${new Date(Number(ms)).toISOString().replace('T', ' ').slice(0, 19)} UTC`;

export async function databasesView(place) {
  const names = await databases();
  place.replaceChildren(h('h1', {}, 'Databases'), names.length
    ? h('ul', { class: 'plain' }, names.map((name) => h('li', {}, h('a', { href: `#/${encodeURIComponent(name)}` }, name))))
    : h('p', { class: 'soft' }, 'There is none yet, or none that this token may see. ', h('code', {}, 'virke db create NAME'), ' makes one.'));
}

export async function schemaView(place, database) {
  const entries = await database.get('schema');
  place.replaceChildren(h('h1', {}, 'Schema'), ...entries.map(({ type, name, sql }) => [h('h2', {}, `${name} `, h('span', { class: 'soft' }, type)), h('pre', {}, `${sql};`)]).flat(),
    entries.length ? '' : h('p', { class: 'soft' }, 'The database is empty.'));
}

/** Earlier states: each may be read in the SQL box, or be made the newest one again. `restored` is called after that. */
export async function versionsView(place, database, { look, restored }) {
  const versions = await database.get(`versions?limit=${VERSIONS}`);
  const problem = h('div', {});

  async function restore(entry) {
    try {
      const plan = await database.post('restore', { at: entry.version, dry_run: true });
      const what = `Version ${entry.version}, of ${instant(entry.time_ms)}, becomes the newest again: ${plan.pages} pages are written as a new version. `
        + 'What came since stays in history, and can be restored in turn.';
      if (!plan.pages) { say('Nothing differs from this version'); return; }
      if (!await confirmed(`Restore version ${entry.version}?`, what, 'Restore')) return;
      const done = await database.post('restore', { at: entry.version });
      database.forget();
      say(`Restored as version ${done.version}`);
      await restored();
    } catch (error) {
      problem.replaceChildren(errorBox(error));
    }
  }

  const rows = versions.map((entry) => h('tr', {},
    h('td', {}, String(entry.version)),
    h('td', {}, instant(entry.time_ms)),
    h('td', {}, entry.made_by === 'restore' ? `restore of ${entry.restored_version}` : entry.made_by),
    h('td', {}, entry.pages_changed === null ? '–' : String(entry.pages_changed)),
    h('td', {}, size(entry.size_bytes)),
    h('td', { class: 'actions' },
      h('button', { type: 'button', 'aria-label': `Look at version ${entry.version}`, onclick: () => look(entry.version) }, 'Look'), ' ',
      h('button', { type: 'button', class: 'danger', 'aria-label': `Restore version ${entry.version}`, onclick: () => restore(entry) }, 'Restore'))));
  const head = ['Version', 'Time', 'Made by', 'Pages changed', 'Size', ''].map((text) => h('th', { scope: 'col' }, text));
  place.replaceChildren(h('h1', {}, 'Versions'), problem, h('p', { class: 'soft' }, `The last ${VERSIONS} that changed pages, as far as history is kept.`),
    h('div', { class: 'scroll' }, h('table', { class: 'short', 'aria-label': 'Versions' }, h('thead', {}, h('tr', {}, head)), h('tbody', {}, rows))));
}

export async function statusView(place, database) {
  const [status, settings] = await Promise.all([database.get('status'), database.get('settings')]);
  const facts = (found) => h('dl', { class: 'facts' }, Object.entries(found).flatMap(([key, value]) => [h('dt', {}, nameOf(key)), h('dd', {}, fact(key, value))]));
  place.replaceChildren(h('h1', {}, 'Status'), facts(status), h('h2', {}, 'Settings'), facts(settings));
}

/** The name of a field: what the value says itself is left out. */
function nameOf(key) {
  return (INSTANTS.has(key) ? key.replace(/_ms$/, '') : key.replace(BYTES, '')).replaceAll('_', ' ');
}

function fact(key, value) {
  if (value === null || value === '') return '–';
  if (BYTES.test(key)) return size(value);
  if (INSTANTS.has(key)) return instant(value);
  if (Array.isArray(value) && !value.length) return '–';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}
