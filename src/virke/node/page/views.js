// What else there is to look at: databases, the schema, versions, status.

import { ask, databases } from './api.js';
import { confirmed, errorBox, h, say } from './dom.js';
import { size } from './values.js';

const BYTES = /_bytes$/;
const INSTANTS = new Set(['created_ms', 'last_commit_ms']);

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
