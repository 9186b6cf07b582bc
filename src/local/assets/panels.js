// Owns what each channel's data looks like on the page. Every field is optional: what is absent is
// a dash. Owns not: where data comes from (`feed`), log lines (`logs`).
import { $, bytes, clean, cores, count, el, finite, list, millis, moment, put, span, tone, when } from './nodes.js';
import { Chart } from './charts.js';

const KEPT_EVENTS = 300;
const SHOWN_UNHEALTHY = 200;
const KEPT_ERRORS = 3;
const TONES = { healthy: 'good', degraded: 'warn', unhealthy: 'bad', unknown: 'idle', up: 'good', down: 'bad' };
const PHASES = {
  connected: ['Connected', 'good'], connecting: ['Connecting', 'warn'], waiting: ['Waiting to try again', 'warn'],
  refused: ['Refused', 'bad'], stopped: ['Stopped', 'bad'], starting: ['Starting', 'warn'],
};
const PODS = [['Running', 'good'], ['Pending', 'warn'], ['Failed', 'bad'], ['Succeeded', 'done'], ['Unknown', 'idle']];

const of = (value) => (value && typeof value === 'object' ? value : {});
const array = (value) => (Array.isArray(value) ? value : []);
const lower = (value) => clean(value).toLowerCase();

/** The agent's clock, as seen from here: durations run by it, not by the visitor's clock. */
let offset = 0;
export function heard(at) {
  const theirs = Date.parse(at);
  if (!Number.isNaN(theirs)) offset = theirs - Date.now();
}
const since = (value) => { const at = Date.parse(value); return Number.isNaN(at) ? NaN : (Date.now() + offset - at) / 1000; };

const state = { status: {}, errors: [], events: [], filter: 'all', running: [], config: [], last: null };
let charts = null;
const named = (node, id) => { node.id = id; return node; };
for (const [stem, kind] of [['gateway', 'Gateway'], ['agent', 'Agent'], ['api', 'API server']]) {
  if (stem !== 'gateway') $('path').append(named(el('li', 'leg', named(el('span', 'leg-text', '—'), `leg-${stem}-text`)), `leg-${stem}`));
  $('path').append(named(el('li', 'hop', el('span', 'hop-kind', kind), named(el('span', 'hop-name clip', '—'), `${stem}-name`), named(el('span', 'hop-note clip', '—'), `${stem}-note`)), `hop-${stem}`));
}
const CARDS = [['cpu', 'CPU'], ['memory', 'Memory'], ['streams', 'Open streams'], ['bytes', 'Traffic']];
for (const [stem, name] of CARDS) {
  const plot = named(el('div', 'chart'), `${stem}-chart`);
  plot.setAttribute('role', 'img');
  plot.setAttribute('aria-label', name);
  $('charts').append(el('div', 'card chart-card', el('div', 'card-head', el('h3', '', name), named(el('span', 'value num', '—'), stem)), plot, named(el('p', 'muted small num keys'), `${stem}-note`)));
}
// Round figures of bytes are powers of two.
const powers = Array.from({ length: 40 }, (_, at) => 2 ** at);

function ready() {
  if (charts) return charts;
  charts = {
    rtt: new Chart($('rtt-chart'), { spark: true, height: 44 }),
    cpu: new Chart($('cpu-chart'), { word: cores, floor: 0.01 }),
    memory: new Chart($('memory-chart'), { word: bytes, steps: powers, floor: 1 << 20 }),
    streams: new Chart($('streams-chart'), { series: 3, floor: 4, word: (value) => (Number.isInteger(value) ? String(value) : '') }),
    bytes: new Chart($('bytes-chart'), { series: 2, floor: 1024, word: bytes, steps: powers }),
  };
  return charts;
}

export function recolour() { if (charts) for (const chart of Object.values(charts)) chart.recolour(); }

// === status ===

export function status(data) {
  state.status = of(data);
  const [agent, link, api, cluster] = ['agent', 'link', 'api_server', 'cluster'].map((key) => of(state.status[key]));
  const [word, colour] = PHASES[lower(link.phase)] || [link.phase, 'idle'];
  const name = agent.name || agent.id || agent.cluster_name;
  put($('agent-title'), name || 'PipeOps Agent');
  document.title = name ? `${clean(name).slice(0, 80)} · PipeOps Agent` : 'PipeOps Agent';
  const labels = Object.entries(of(agent.labels)).map(([key, value]) => `${key}=${value}`).join('  ');
  put($('agent-line'), ['Cluster ' + (agent.cluster_name || DASH), labels].filter(Boolean).join(' · '));
  put($('foot-version'), ['PipeOps Agent', agent.version].filter(Boolean).join(' '));

  put($('link-phase'), word); tone($('link-phase'), colour);
  put($('link-transport'), { wss: 'WebSocket', sse: 'HTTP streams', none: 'None' }[lower(link.transport)] || link.transport);
  put($('link-reconnects'), count(link.reconnects));
  traffic(link);
  error(link.last_error);

  put($('gateway-name'), link.url_host); put($('gateway-note'), word); tone($('hop-gateway'), colour);
  tone($('leg-agent'), colour);
  put($('agent-name'), agent.name || agent.id); put($('agent-note'), agent.version ? `Version ${agent.version}` : ''); tone($('hop-agent'), 'good');
  const answers = api.up === true ? ['Answers', 'good'] : api.up === false ? ['Does not answer', 'bad'] : ['Not known yet', 'idle'];
  put($('api-name'), api.version); put($('api-note'), api.up === false && api.message ? api.message : answers[0]);
  $('api-note').title = clean(api.message); tone($('hop-api'), answers[1]); tone($('leg-api'), answers[1]);
  put($('leg-api-text'), api.up === false ? 'down' : 'https');
  overview(cluster);
  features(state.status.features);
  tick();
}

const DASH = '—';

function traffic({ round_trip_ms, bytes_sent, bytes_received }) {
  if (finite(round_trip_ms)) { put($('rtt'), millis(round_trip_ms)); put($('leg-agent-text'), `${lower(of(state.status.link).transport) || 'link'} · ${millis(round_trip_ms)}`); }
  if (finite(bytes_sent)) put($('link-sent'), bytes(bytes_sent));
  if (finite(bytes_received)) put($('link-received'), bytes(bytes_received));
}

function error(last) {
  const one = of(last);
  const known = (!one.cause && !one.message) || state.errors.some((e) => e.at === one.at && e.cause === one.cause);
  if (!known) state.errors = [{ at: one.at, cause: one.cause, message: one.message }, ...state.errors].slice(0, KEPT_ERRORS);
  list($('link-errors'), state.errors, (e) => e.at + e.cause, errorRow, 'None since this page was opened');
}

function errorRow(e) {
  return el('li', 'row', el('span', 'row-main', el('strong', 'reason', String(e.cause || 'error').replaceAll('_', ' ')), el('span', 'muted wrap', e.message)), when(e.at));
}

function overview(cluster) {
  const nodes = of(cluster.nodes), pods = of(cluster.pods), phases = of(pods.by_phase);
  const facts = Object.entries(cluster).filter(([, value]) => finite(value)).map(([key, value]) => `${count(value)} ${clean(key).replaceAll('_', ' ')}`);
  if (cluster.trouble) facts.push(`cannot be counted: ${clean(cluster.trouble)}`);
  if (array(cluster.missing).length) facts.push(`not allowed to list: ${cluster.missing.map(clean).join(', ')}`);
  $('cluster-line').textContent = facts.join(' · ');
  const known = finite(nodes.total);
  const rest = known && finite(nodes.ready) ? Math.max(0, nodes.total - nodes.ready) : undefined;
  put($('nodes-total'), known ? `${count(nodes.total)} in all` : '');
  bar('nodes', [['Ready', 'good', nodes.ready], ['Not ready', 'bad', rest]]);
  put($('pods-total'), finite(pods.total) ? `${count(pods.total)} in all` : '');
  bar('pods', PODS.map(([name, colour]) => [name, colour, phases[name]]).filter(([name, , value]) => value || name !== 'Unknown'));

  const broken = [
    ...array(nodes.unready).map((node) => ({ kind: 'Node', name: node.name, reason: node.reason, message: node.message })),
    ...array(pods.unhealthy).map((pod) => ({ kind: 'Pod', namespace: pod.namespace, name: pod.name, reason: pod.reason, message: pod.message, restarts: pod.restarts, container: pod.container })),
  ];
  const unknown = !known && !finite(pods.total);
  put($('unhealthy-count'), unknown ? DASH : broken.length ? count(Math.max(broken.length, (pods.unhealthy_total || 0) + array(nodes.unready).length)) : 'All well');
  tone($('unhealthy-count'), unknown ? 'idle' : broken.length ? 'bad' : 'good');
  list($('unhealthy'), broken.slice(0, SHOWN_UNHEALTHY), (one) => `${one.kind}/${one.namespace}/${one.name}`, brokenRow,
    unknown ? 'The cluster has not been counted yet' : array(cluster.missing).length ? 'What may be seen is well' : 'Every node is ready and every pod is well');
}

function brokenRow(one) {
  const main = el('span', 'row-main',
    el('span', 'line', el('strong', 'reason', one.reason || 'Not ready'), el('span', 'mono wrap', one.namespace ? `${one.namespace}/${one.name}` : `${one.kind} ${one.name}`)),
    one.message ? el('span', 'muted wrap', one.message) : null);
  const end = el('span', 'row-end');
  if (finite(one.restarts) && one.restarts > 0) end.append(el('span', 'muted num nowrap', `${count(one.restarts)} restart${one.restarts === 1 ? '' : 's'}`));
  if (one.kind === 'Pod') end.append(logButton(one.namespace, one.name));
  const row = el('li', 'row', main, end);
  row.dataset.tone = 'bad';
  return row;
}

function logButton(namespace, pod) {
  const button = el('button', 'small-button', 'Logs');
  button.type = 'button';
  button.setAttribute('aria-label', `Logs of ${clean(pod)}`);
  button.addEventListener('click', () => document.dispatchEvent(new CustomEvent('follow', { detail: { namespace: String(namespace || ''), pod: String(pod) } })));
  return button;
}

/** A bar of shares: the widths are set through the style object, which the policy allows. */
function bar(stem, shares) {
  const sum = shares.reduce((all, [, , value]) => all + (finite(value) ? value : 0), 0);
  const host = $(`${stem}-bar`);
  const shown = shares.filter(([, , value]) => finite(value) && value > 0);
  list(host, shown, (one) => one[0], ([, colour]) => { const part = el('span', 'part'); part.dataset.tone = colour; return part; });
  shown.forEach(([, , value], at) => { if (host.children[at]) host.children[at].style.flexGrow = String(value / sum); });
  host.setAttribute('aria-label', sum ? shown.map(([name, , value]) => `${value} ${clean(name)}`).join(', ') : 'not counted yet');
  list($(`${stem}-legend`), shares, (one) => one[0], ([name, colour, value]) => {
    const key = el('i', 'key'); key.dataset.tone = colour;
    return el('li', finite(value) && value === 0 ? 'none' : '', key, el('span', '', name), el('b', 'num', count(value)));
  });
}

function features(value) {
  list($('features'), array(value).slice(0, 100), (one) => one.name, (one) => {
    const chip = el('li', 'chip', String(one.name ?? '').replaceAll('_', ' '), el('span', 'sr', one.enabled ? ' (there)' : ' (not there)'));
    chip.dataset.on = one.enabled ? 'yes' : 'no';
    return chip;
  }, 'Not looked at yet');
}

// === health ===

export function health(data) {
  const { state: whole, components } = of(data);
  put($('health-state'), whole ? clean(whole)[0].toUpperCase() + clean(whole).slice(1) : DASH);
  tone($('health-state'), TONES[lower(whole)] || 'idle');
  list($('health'), array(components).slice(0, 100).map(({ name, state: how, message, since: from, took_ms }) => ({ name, how, message, from, took: finite(took_ms) ? Math.round(took_ms) : undefined })), (one) => one.name, (one) => {
    const dot = el('i', 'key'); dot.dataset.tone = TONES[lower(one.how)] || 'idle';
    const row = el('li', 'row', dot,
      el('span', 'row-main line', el('strong', '', String(one.name ?? '').replaceAll('_', ' ')), el('span', one.how === 'healthy' ? 'sr' : '', one.how), el('span', 'muted wrap', one.message)),
      el('span', 'row-end muted num nowrap', finite(one.took) ? millis(one.took) : ''));
    if (one.from) row.title = `Since ${moment(one.from)}`;
    return row;
  }, 'Nothing reported yet');
}

// === metrics ===

export function metrics(data) {
  for (const one of Array.isArray(data) ? data : [data]) sample(of(one));
  const drawn = ready();
  for (const chart of Object.values(drawn)) chart.draw();
}

function sample(m) {
  const at = (Date.parse(m.at) || Date.now() + offset) / 1000;
  const streams = of(m.streams);
  const kinds = [streams.interactive, streams.api, streams.bulk];
  const open = kinds.some(finite) ? kinds.reduce((sum, one) => sum + (finite(one) ? one : 0), 0) : undefined;
  const before = state.last;
  const soon = before && at - before.at < 0.5; // No rate.
  if (!soon) state.last = { at, sent: m.bytes_sent, received: m.bytes_received };
  let out, into;
  if (before && !soon && at - before.at < 5) {
    const rate = (now, then) => (finite(now) && finite(then) && now >= then ? (now - then) / (at - before.at) : undefined);
    out = rate(m.bytes_sent, before.sent); into = rate(m.bytes_received, before.received);
  }
  const drawn = ready();
  drawn.rtt.push(at, [m.round_trip_ms]);
  drawn.cpu.push(at, [m.cpu_cores]);
  drawn.memory.push(at, [m.rss_bytes]);
  drawn.streams.push(at, kinds);
  drawn.bytes.push(at, [out, into]);
  traffic(m);
  put($('cpu'), cores(m.cpu_cores)); put($('cpu-note'), ['of one core', finite(m.tasks) && `${count(m.tasks)} tasks`, finite(m.loop_lag_ms) && `loop lag ${millis(m.loop_lag_ms)}`].filter(Boolean).join(' · '));
  put($('memory'), bytes(m.rss_bytes)); put($('memory-note'), [finite(m.memory_limit_bytes) && `limit ${bytes(m.memory_limit_bytes)}`, finite(m.open_fds) && `${count(m.open_fds)}${finite(m.max_fds) ? ' of ' + count(m.max_fds) : ''} files`].filter(Boolean).join(' · '));
  put($('streams'), count(open));
  keys($('streams-note'), [['1', `interactive ${count(kinds[0])}`], ['2', `api ${count(kinds[1])}`], ['3', `bulk ${count(kinds[2])}`]]);
  put($('bytes'), finite(out) && finite(into) ? `${bytes(out + into)}/s` : DASH);
  keys($('bytes-note'), [['1', `sent ${bytes(out)}/s`], ['2', `received ${bytes(into)}/s`]]);
  for (const [stem, name] of CARDS) $(`${stem}-chart`).setAttribute('aria-label', `${name} now ${$(stem).textContent}`);
}

function keys(host, items) {
  list(host, items, (one) => one[0], ([line, text]) => { const key = el('i', `key c${line}`); return el('span', 'keyed', key, text); });
}

// === events ===

/** The first of a connection replaces. */
export function events(data, first) {
  if (first) state.events = [];
  for (const one of Array.isArray(data) ? data : [data]) {
    const { at, source, type, reason, message, count: times } = of(one), object = of(of(one).object);
    if (!reason && !message) continue;
    const item = { at, source, type, reason, message, times, kind: object.kind, namespace: object.namespace, name: object.name };
    const same = state.events.findIndex((e) => e.source === source && e.type === type && e.reason === reason && e.message === message && e.kind === item.kind && e.namespace === item.namespace && e.name === item.name && (finite(times) || e.at === at));
    if (same >= 0) state.events.splice(same, 1);
    state.events.push(item);
  }
  state.events.sort((a, b) => (Date.parse(b.at) || 0) - (Date.parse(a.at) || 0));
  state.events.length = Math.min(state.events.length, KEPT_EVENTS);
  drawEvents();
}

function drawEvents() {
  const shown = state.events.filter((e) => state.filter === 'all' || (state.filter === 'agent' ? e.source === 'agent' : e.type === state.filter));
  list($('events'), shown, (e) => `${e.source}${e.kind}/${e.namespace}/${e.name}/${e.reason}/${e.message}${finite(e.times) ? '' : e.at}`, (e) => {
    const row = el('li', 'event', when(e.at),
      el('div', 'event-body',
        el('span', 'line', el('strong', 'reason', e.reason), e.name ? el('span', 'mono wrap', [e.kind, [e.namespace, e.name].filter(Boolean).join('/')].filter(Boolean).join(' ')) : null, finite(e.times) && e.times > 1 ? el('span', 'times num', `× ${count(e.times)}`) : null),
        el('span', 'muted wrap', e.message)),
      e.kind === 'Pod' && e.name ? logButton(e.namespace, e.name) : el('span', 'tag', e.source === 'agent' ? 'agent' : ''));
    row.dataset.tone = e.type === 'Warning' ? 'warn' : e.source === 'agent' ? 'accent' : 'idle';
    return row;
  }, state.events.length ? 'None of this kind' : 'Nothing has happened yet');
}

for (const button of document.querySelectorAll('[data-events]')) {
  button.addEventListener('click', () => {
    state.filter = button.dataset.events;
    for (const one of document.querySelectorAll('[data-events]')) one.setAttribute('aria-pressed', String(one === button));
    drawEvents();
  });
}

// === commands ===

export function commands(data) {
  const { running, recent } = of(data);
  state.running = array(running);
  put($('commands-count'), count(state.running.length)); tone($('commands-count'), state.running.length ? 'accent' : 'idle');
  list($('commands'), state.running.slice(0, 200).map(({ id, name, actor, started_at }) => ({ id, name, actor, started_at })), (one) => one.id, (one) => {
    const took = el('span', 'num nowrap', '');
    took.dataset.since = clean(one.started_at);
    return el('li', 'row', el('span', 'row-main', el('strong', 'mono', one.name), el('span', 'muted wrap', `by ${actor(one.actor)}`)), el('span', 'row-end', took));
  }, 'None is running');
  list($('recent'), array(recent).slice(0, 50).map(({ id, name, actor: who, outcome, duration_ms, started_at }) => ({ id, name, who, outcome, duration_ms, started_at })), (one) => one.id, (one) => {
    const word = el('span', 'outcome', one.outcome); word.dataset.tone = { ok: 'good', cancelled: 'idle' }[one.outcome] || 'bad';
    return el('li', 'row', el('span', 'row-main', el('span', 'line', el('span', 'mono', one.name), word), el('span', 'muted wrap', `by ${actor(one.who)}`)), el('span', 'row-end muted num nowrap', millis(one.duration_ms), when(one.started_at)));
  }, 'None yet');
  tick();
}

const actor = (value) => value || 'the control plane';

// === configuration ===

export function config(data) {
  state.config = array(data);
  drawConfig();
}

function drawConfig() {
  const sought = $('config-search').value.trim().toLowerCase(), set = $('config-set').checked;
  const shown = state.config.filter((one) => (!set || one.source !== 'default') && (!sought || `${clean(one.key)} ${clean(one.value)} ${clean(one.where)}`.toLowerCase().includes(sought)));
  $('config-count').textContent = state.config.length ? `${shown.length} of ${state.config.length}` : '';
  list($('config-rows'), shown, (one) => one.key, (one) => {
    const source = el('span', 'source', one.source); source.dataset.source = clean(one.source);
    const value = one.value === null || one.value === undefined || one.value === '' ? el('span', 'muted', 'empty') : document.createTextNode(clean(one.value));
    return el('tr', '', el('th', 'mono', one.key), el('td', 'mono wrap', value), el('td', '', source, one.where ? el('span', 'muted mono where wrap', one.where) : null));
  }, 'Nothing to show');
}
$('config-search').addEventListener('input', drawConfig);
$('config-set').addEventListener('change', drawConfig);

/** What runs by the clock alone. */
export function tick() {
  const agent = of(state.status.agent), link = of(state.status.link);
  put($('link-since'), link.since ? span(since(link.since)) : DASH);
  $('link-since').title = link.since ? moment(link.since) : '';
  put($('agent-uptime'), agent.started_at ? span(since(agent.started_at)) : span(agent.uptime_seconds));
  for (const node of document.querySelectorAll('[data-since]')) node.textContent = node.dataset.since ? span(since(node.dataset.since)) : DASH;
}

export function begin() { state.last = null; }
