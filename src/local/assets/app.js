// Owns the page as a whole: which update goes to which panel, what is said of the connection, the
// theme. Everything else lies with `feed`, `panels`, `charts`, `logs` and `nodes`.
import { $, put, tone } from './nodes.js';
import { Feed } from './feed.js';
import { Logs } from './logs.js';
import * as own from './own.js';
import * as panels from './panels.js';

const waiting = new Map();
let arrived = [], fresh = true, drawing = false, spoken = '', how = '', lost = false;

const feed = new Feed({
  update(channel, data, at) {
    panels.heard(at || (data && data.at));
    // Of a state only the newest counts; events and samples all do.
    if (channel === 'events' || channel === 'metrics') arrived.push([channel, data, at]); else waiting.set(channel, [channel, data, at]);
    later();
  },
  message(message) {
    if (message.type === 'status') waiting.set('status', ['status', message.data ?? message]);
    else logs.take(message);
    later();
  },
  config: panels.config,
  declared: own.declare,
  opened(by) {
    how = by;
    fresh = true;
    panels.begin();
    if (lost) logs.again();
    lost = true;
  },
  changed: () => connection(),
  token(wrong) {
    $('ask-error').textContent = wrong ? 'The agent refused this token' : '';
    if (!$('ask').open) $('ask').showModal();
    connection();
  },
});
const logs = new Logs(feed);

function later() {
  if (drawing) return;
  drawing = true;
  // A page in the background is drawn by a timer: what is still to be drawn stays bounded.
  (document.hidden ? (draw) => setTimeout(draw, 1000) : requestAnimationFrame)(() => { drawing = false; draw(); });
}

function draw() {
  const states = [...waiting.values()], rest = arrived;
  waiting.clear();
  arrived = [];
  for (const [channel, data, at] of [...states, ...rest]) {
    try {
      if (channel === 'events') { panels.events(data, fresh); fresh = false; } else if (Object.hasOwn(drawers, channel)) drawers[channel](data);
      own.show(channel, data, at);
    } catch (error) { console.error('a panel could not show', channel, error); }
  }
}
const drawers = { status: panels.status, health: panels.health, metrics: panels.metrics, commands: panels.commands };

function connection() {
  const seconds = Math.floor(feed.silence / 1000);
  const stale = feed.stale;
  const never = !feed.heard;
  document.body.classList.toggle('is-stale', stale);
  const trouble = stale || (never && feed.phase === 'waiting');
  $('stale').hidden = !trouble;
  const text = never ? 'The agent does not answer' : `No update for ${seconds} s`;
  if (trouble) {
    put($('stale-text'), `${text}; trying again`);
    const next = Math.max(0, Math.ceil((feed.nextTry - Date.now()) / 1000));
    $('stale-more').textContent = never ? '' : feed.phase === 'waiting' && next > 0 ? `What you see may be old. Next try in ${next} s.` : 'What you see may be old.';
  }
  const [word, colour] = feed.phase === 'asking' ? ['Token needed', 'warn'] : trouble ? [never ? 'No answer' : 'Stale', 'bad'] : feed.phase === 'live' ? ['Live', 'good'] : ['Connecting', 'warn'];
  put($('live-text'), word); tone($('live'), colour);
  $('live').title = feed.phase === 'live' ? `By ${how}` : '';
  // Said once per change, so that nobody listens to a count of seconds.
  if (word !== spoken && word !== 'Connecting') { spoken = word; $('announce').textContent = { Live: 'The page is live', Stale: 'No update from the agent; trying again', 'No answer': 'The agent does not answer; trying again' }[word] || word; }
}
setInterval(() => panels.tick(), 1000);

$('retry').addEventListener('click', () => feed.retry());
$('ask-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const token = $('ask-token').value.trim();
  $('ask-token').value = '';
  $('ask').close();
  feed.setToken(token);
});
$('ask').addEventListener('cancel', (event) => event.preventDefault());

// === theme ===

const dark = matchMedia('(prefers-color-scheme: dark)');
const kept = (() => { try { return localStorage.getItem('theme'); } catch { return null; } })();
if (kept === 'dark' || kept === 'light') document.documentElement.dataset.theme = kept;
function isDark() { return (document.documentElement.dataset.theme || (dark.matches ? 'dark' : 'light')) === 'dark'; }
function themed() { $('theme').setAttribute('aria-pressed', String(isDark())); panels.recolour(); own.recolour(); }
$('theme').addEventListener('click', () => {
  const next = isDark() ? 'light' : 'dark';
  document.documentElement.dataset.theme = next;
  try { localStorage.setItem('theme', next); } catch { /* Then it lasts as long as the page. */ }
  themed();
});
dark.addEventListener('change', themed);
themed();

// === where the reader is ===

const tabs = [...document.querySelectorAll('.tabs a')];
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) entry.target.dataset.seen = entry.isIntersecting ? 'yes' : '';
  const current = tabs.find((tab) => document.querySelector(tab.hash).dataset.seen) || tabs[0];
  for (const tab of tabs) if (tab === current) tab.setAttribute('aria-current', 'true'); else tab.removeAttribute('aria-current');
}, { rootMargin: '-120px 0px -50% 0px' });
for (const tab of tabs) seen.observe(document.querySelector(tab.hash));

feed.run();
