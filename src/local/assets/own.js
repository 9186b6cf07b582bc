// Owns the panels that the operator declared (`extensions.panels`): each a field of a channel, as
// text, a number, its course, or a table.
import { $, bytes, clean, count, el, finite, list } from './nodes.js';
import { Chart } from './charts.js';

const MOST = 48;
const MOST_ROWS = 100;
let panels = [];

/** Makes the panels anew, and says which channels they want. */
export function declare(data) {
  panels = (Array.isArray(data && data.panels) ? data.panels : []).slice(0, MOST);
  $('own').hidden = !panels.length;
  $('own-panels').replaceChildren(...panels.map((panel) => {
    panel.value = el('span', panel.kind === 'table' ? 'small muted' : 'value num wrap', '—');
    panel.note = el('p', 'small error wrap');
    panel.body = el('div', panel.kind === 'spark' ? 'spark' : 'scroll');
    return el('div', panel.kind === 'table' ? 'card two' : 'card', el('div', 'card-head', el('h3', 'wrap', panel.title), panel.value), panel.body, panel.note);
  }));
  for (const panel of panels) if (panel.kind === 'spark') panel.chart = new Chart(panel.body, { spark: true, height: 44, floor: 0, gap: 3600 });
  return panels.map((panel) => clean(panel.source));
}

/** A JSON pointer, through own properties only. */
function at(data, pointer) {
  return String(pointer).split('/').slice(1).map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'))
    .reduce((value, step) => (value && typeof value === 'object' && Object.hasOwn(value, step) ? value[step] : undefined), data);
}

export function show(channel, data, when) {
  for (const panel of panels) {
    if (panel.source !== channel) continue;
    const value = at(data, panel.field);
    panel.note.textContent = data && data.error ? clean(data.error) : '';
    if (panel.kind === 'table') table(panel, value);
    else panel.value.textContent = !finite(value) ? clean(value) || '—' : panel.unit === 'bytes' ? bytes(value) : [count(value), clean(panel.unit)].filter(Boolean).join(' ');
    if (panel.chart) { panel.chart.push((Date.parse(when) || Date.now()) / 1000, [value]); panel.chart.draw(); }
  }
}

function table(panel, value) {
  const rows = (Array.isArray(value) ? value : []).filter((row) => row && typeof row === 'object').slice(0, MOST_ROWS);
  const columns = [...new Set(rows.flatMap(Object.keys))].slice(0, 8);
  panel.value.textContent = count(rows.length);
  const body = el('tbody');
  list(body, rows, () => '', (row) => el('tr', '', ...columns.map((name) => el('td', 'wrap', row[name]))), 'None');
  panel.body.tabIndex = 0;
  panel.body.replaceChildren(el('table', 'table', el('thead', '', el('tr', '', ...columns.map((name) => el('th', '', name)))), body));
}

export function recolour() { for (const { chart } of panels) if (chart) chart.recolour(); }
