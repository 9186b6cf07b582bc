// Owns how anything gets onto the page: text nodes, bounded and cleaned. Nothing here or elsewhere
// parses markup: a hostile name is read, never run. Also how figures are worded.

const DASH = '—';
const LONGEST = 4000;
// Control characters, and those that turn the direction of a line, would disguise a name.
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
const ESCAPES = /\u001b\[[0-9;?]*[ -/]*[@-~]/g;

export const $ = (id) => document.getElementById(id);

export function clean(value) {
  if (value === null || value === undefined || value === '') return '';
  let text = typeof value === 'object' ? JSON.stringify(value) : String(value);
  if (text.length > LONGEST) text = text.slice(0, LONGEST) + '…';
  return text.replace(ESCAPES, '').replace(HIDDEN, '\ufffd');
}

/** An element with a class, and children that are elements or text. */
export function el(tag, name, ...children) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : clean(child));
  }
  return node;
}

export function put(node, value) {
  const text = clean(value) || DASH;
  if (node.textContent !== text) node.textContent = text;
}

export function tone(node, value) {
  if (node.dataset.tone !== value) node.dataset.tone = value;
}

/** Makes the children of `parent` those of `items`, keeping what stays: focus and scroll survive. */
export function list(parent, items, key, make, empty) {
  const old = new Map();
  for (const child of parent.children) old.set(child.dataset.key, child);
  const wanted = [];
  const seen = new Set();
  for (const item of items) {
    let name = 'k' + key(item);
    while (seen.has(name)) name += '+';
    seen.add(name);
    const text = JSON.stringify(item);
    let node = old.get(name);
    if (!node || node.dataset.was !== text) {
      const fresh = make(item);
      fresh.dataset.key = name;
      fresh.dataset.was = text;
      if (node && node.contains(document.activeElement)) {
        const twin = fresh.querySelector('button');
        node.replaceWith(fresh);
        if (twin) twin.focus();
      } else if (node) node.replaceWith(fresh);
      node = fresh;
    }
    old.delete(name);
    wanted.push(node);
  }
  for (const node of old.values()) node.remove();
  if (!wanted.length && empty) {
    const node = el(parent.tagName === 'TBODY' ? 'tr' : 'li', 'empty', parent.tagName === 'TBODY' ? el('td', '', empty) : empty);
    node.dataset.key = 'empty';
    wanted.push(node);
  }
  wanted.forEach((node, at) => {
    if (parent.children[at] !== node) parent.insertBefore(node, parent.children[at] || null);
  });
}

export function finite(value) {
  return typeof value === 'number' && Number.isFinite(value);
}

export function count(value) {
  return finite(value) ? value.toLocaleString('en') : DASH;
}

export function bytes(value) {
  if (!finite(value)) return DASH;
  let amount = value, at = 0;
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  while (amount >= 1024 && at < units.length - 1) { amount /= 1024; at += 1; }
  const digits = at && !Number.isInteger(amount) ? (amount < 10 ? 2 : amount < 100 ? 1 : 0) : 0;
  return `${amount.toFixed(digits)} ${units[at]}`;
}

export function millis(value) {
  if (!finite(value)) return DASH;
  if (value < 1) return `${value.toFixed(2)} ms`;
  if (value < 10) return `${value.toFixed(1)} ms`;
  return value < 10000 ? `${Math.round(value)} ms` : span(value / 1000);
}

/** Cores as a share of one. */
export function cores(value) {
  if (!finite(value)) return DASH;
  const share = value * 100;
  return `${share.toFixed(share < 10 ? 1 : 0)} %`;
}

/** Seconds, in the two largest units. */
export function span(seconds) {
  if (!finite(seconds)) return DASH;
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

export function time(value) {
  const at = Date.parse(value);
  return Number.isNaN(at) ? '' : new Date(at).toLocaleTimeString('en-GB');
}

export function moment(value) {
  const at = Date.parse(value);
  if (Number.isNaN(at)) return DASH;
  const date = new Date(at);
  const day = date.toDateString() === new Date().toDateString() ? '' : date.toLocaleDateString('en-GB', { day: 'numeric', month: 'short' }) + ', ';
  return day + date.toLocaleTimeString('en-GB');
}

export function when(value, name = 'when num') {
  const node = el('time', name, time(value));
  if (!Number.isNaN(Date.parse(value))) {
    node.dateTime = String(value);
    node.title = moment(value);
  }
  return node;
}
