// Owns what the dashboard must show in Chromium: node browser.mjs ENV-FILE FOLDER, with PIPEOPS_AGENT,
// PIPEOPS_GATEWAY and PLAYWRIGHT (the folder of playwright-core) set. Prints PASS, FAIL and SKIP lines.
// Real agent, gateway and cluster; only what Kubernetes would never accept, such as a pod's name that
// is markup, reaches the page from a WebSocket that the test speaks.
import { createRequire } from 'node:module';
import { mkdirSync, rmSync } from 'node:fs';
import { Cluster, Programs, facts, until } from './programs.mjs';
import { payloads } from './payloads.mjs';
import { attempts, site } from './stranger.mjs';
import { contrast, watchful } from './eyes.mjs';

const { chromium } = createRequire(`${process.env.PLAYWRIGHT}/`)('playwright-core');
const [envFile, folder] = process.argv.slice(2);
const env = facts(envFile);
// An earlier run's logs and tokens would be read as this one's.
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
const cluster = new Cluster(env), programs = new Programs(env, folder);
// A rebound name is what it says: a stranger's name that leads to the agent's address.
const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--host-resolver-rules=MAP *.stranger.test 127.0.0.1', '--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests'];
const WITHIN = 1000;
// Of this run: a cluster may have seen others.
const RUN = Date.now().toString(36);
let failed = 0;

function judge(good, name, detail = '') {
  if (!good) failed += 1;
  console.log(`${good ? 'PASS' : 'FAIL'} ${name}${detail ? ` (${detail})` : ''}`);
}
async function part(name, act) {
  const from = performance.now();
  try { await act(); } catch (error) { judge(false, name, String(error.stack || error).slice(0, 900)); }
  console.log(`${name}: ${((performance.now() - from) / 1000).toFixed(1)} s`);
}

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: FLAGS });

async function open({ address = programs.page, before = null, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.seen = { errors: [], leaks: [], dialogs: 0 };
  const own = new URL(address).origin;
  page.on('pageerror', (error) => page.seen.errors.push(error.message));
  page.on('console', (message) => { if (message.type() === 'error' && /content security|trusted|could not show/i.test(message.text())) page.seen.errors.push(message.text()); });
  page.on('dialog', (dialog) => { page.seen.dialogs += 1; dialog.dismiss(); });
  page.on('request', (request) => { const url = new URL(request.url()); if (url.pathname.includes('leak') || (url.protocol.startsWith('http') && url.origin !== own)) page.seen.leaks.push(request.url()); });
  await page.addInitScript(watchful);
  if (before) await before(page);
  await page.goto(address);
  return page;
}
const text = (page, id) => page.evaluate((id) => document.getElementById(id).textContent, id);
const live = (page) => until('the page is live', 10, async () => (await text(page, 'live-text')) === 'Live');

/** How long after `act` the page shows what `look` finds. */
async function delay(page, act, look, argument) {
  await act();
  const from = performance.now();
  await until('the page shows it', 10, () => page.evaluate(look, argument));
  return performance.now() - from;
}

async function updates() {
  const page = await open();
  await live(page);
  await until('the cluster is counted', 15, async () => /in all/.test(await text(page, 'pods-total')));
  const find = ([id, wanted]) => document.getElementById(id).textContent.includes(wanted);
  const total = async () => Number((await text(page, 'pods-total')).replace(/\D/g, '')) || 0;
  const took = async (name, act, look, argument) => {
    const ms = await delay(page, act, look, argument);
    judge(ms <= WITHIN, `${name} is on the page within a second`, `${Math.round(ms)} ms`);
  };
  const before = await total(), seen = `seen-${RUN}`;
  const equals = (wanted) => Number(document.getElementById('pods-total').textContent.replace(/\D/g, '')) === wanted;
  await took('a pod that was made', () => cluster.pod('default', seen), equals, before + 1);
  await took('a pod that fails, and why', () => cluster.podStatus('default', seen, {
    phase: 'Running', containerStatuses: [{ name: 'app', image: 'none', imageID: '', ready: false, restartCount: 7, state: { waiting: { reason: 'CrashLoopBackOff', message: `back-off of ${RUN}` } } }] }), find, ['unhealthy', `back-off of ${RUN}`]);
  await took('an event', () => cluster.call('POST', '/api/v1/namespaces/default/events', {
    metadata: { name: seen }, involvedObject: { kind: 'Pod', namespace: 'default', name: seen }, reason: 'SeenByTest', message: `an event of ${RUN}`, type: 'Warning', count: 1,
    firstTimestamp: new Date().toISOString(), lastTimestamp: new Date().toISOString() }), find, ['events', `an event of ${RUN}`]);
  let request;
  await took('a running command, and whose it is', async () => { request = programs.through('/clusters/here/k8s/api/v1/namespaces/default/pods?watch=true'); await new Promise((yes) => request.once('response', yes)); }, find, ['commands', 'tester']);
  await took('a command that ended', async () => { request.destroy(); }, find, ['commands', 'None is running']);
  await took('a pod that was deleted', () => cluster.call('DELETE', `/api/v1/namespaces/default/pods/${seen}?gracePeriodSeconds=0`), equals, before);
  const first = await text(page, 'cpu');
  await until('runtime figures', 5, async () => (await text(page, 'memory')) !== '—');
  judge(first !== '' && await page.evaluate(() => document.querySelectorAll('.chart canvas, .spark canvas').length) === 5, 'five charts are drawn');
  await until('the configuration', 5, async () => page.evaluate(() => document.querySelectorAll('#config-rows .source').length > 5));
  judge(true, 'the configuration names a source for each value');
  judge(page.seen.errors.length === 0, 'the page breaks no rule of its policy', page.seen.errors.join('; '));
  await page.context().close();
}

async function recovers() {
  const page = await open();
  await live(page);
  await page.evaluate(() => { window.same = true; });
  const banner = () => page.evaluate(() => (document.getElementById('stale').hidden ? '' : document.getElementById('stale-text').textContent));
  await programs.agentDown();
  const said = await until('the page says that it is stale', 10, async () => { const words = await banner(); return /^No update for \d+ s; trying again$/.test(words) && words; });
  judge(true, 'an agent that is gone is told', said);
  await programs.agentUp();
  const from = performance.now();
  await live(page);
  await until('new data', 5, async () => (await banner()) === '' && (await text(page, 'link-phase')) === 'Connected');
  judge(await page.evaluate(() => window.same === true), 'the page recovers by itself after the agent restarts', `${((performance.now() - from) / 1000).toFixed(1)} s after it was ready`);
  programs.agent.kill('SIGSTOP');
  await until('silence is told', 12, async () => /^No update for/.test(await banner()));
  programs.agent.kill('SIGCONT');
  await live(page);
  judge(true, 'an agent that hangs is told as well, and the page goes on with it');
  await page.context().close();
}

const named = (at) => payloads[at % payloads.length];

/** Every field of every channel, filled with hostile texts. */
function hostile(socket) {
  const say = (channel, data) => socket.send(JSON.stringify({ type: 'update', channel, id: '1-1', at: new Date().toISOString(), data }));
  const at = new Date().toISOString();
  socket.onMessage((raw) => {
    const message = JSON.parse(raw);
    if (message.type === 'subscribe') {
      say('status', {
        agent: { id: named(0), name: named(1), version: named(2), cluster_name: named(3), labels: Object.fromEntries(payloads.map((one, n) => [one, named(n + 1)])), started_at: named(4) },
        link: { phase: named(5), transport: named(6), since: named(7), reconnects: 1, last_error: { cause: named(8), message: named(9), at: named(10) }, url_host: named(11) },
        api_server: { up: false, version: named(12), message: named(13) },
        cluster: { nodes: { total: 50, ready: 0, unready: payloads.map((one, n) => ({ name: one, reason: named(n + 2), message: named(n + 3) })) },
          pods: { total: 50, by_phase: Object.fromEntries(payloads.map((one) => [one, 1])), unhealthy: payloads.map((one, n) => ({ namespace: named(n + 4), name: one, reason: named(n + 5), message: named(n + 6), restarts: 1 })) } },
        features: payloads.map((one, n) => ({ name: one, available: true, detail: named(n + 7) })),
      });
      say('health', { state: named(14), components: payloads.map((one, n) => ({ name: one, state: named(n), message: named(n + 8), since: named(n), took_ms: 1 })) });
      say('events', payloads.map((one, n) => ({ at, source: named(n + 1), type: named(n + 9), reason: named(n + 2), object: { kind: 'Pod', namespace: named(n + 3), name: one }, message: named(n + 4), count: 2 })));
      say('commands', { running: payloads.map((one, n) => ({ id: String(n), name: one, actor: named(n + 5), started_at: named(n), bytes: 1 })), recent: payloads.map((one, n) => ({ id: one, name: one, actor: named(n + 6), outcome: named(n + 7), duration_ms: 1, started_at: named(n) })) });
      say('__proto__', { ran: 1 });
      say(named(20), named(21));
    }
    if (message.type === 'logs.start') socket.send(JSON.stringify({ type: 'log', id: message.id, lines: payloads.map((one, n) => ({ pod: named(n + 1), container: named(n + 2), time: named(n), text: one })) }));
  });
  socket.send(JSON.stringify({ type: 'welcome', connection_id: named(22), channels: ['status', 'health', 'events', 'commands'] }));
}

/** Nothing ran, nothing was fetched, and no element came of a text. */
async function unharmed(page, name) {
  await page.mouse.move(300, 400); await page.mouse.move(600, 500);
  await new Promise((yes) => setTimeout(yes, 500));
  const state = await page.evaluate(() => ({ ran: window.hits, violations: window.violations, strange: document.querySelectorAll('main :is(script, img, iframe, object, embed, link, meta, base, style, a[href]:not([href^="#"]), video, audio, math, form:not(#log-form), dialog, svg, [onerror], [onload], [onfocus], [style*=url])').length }));
  const good = state.ran === 0 && state.violations.length === 0 && state.strange === 0 && page.seen.dialogs === 0 && page.seen.leaks.length === 0 && page.seen.errors.length === 0;
  judge(good, name, good ? '' : JSON.stringify({ ...state, ...page.seen }));
}

async function texts() {
  judge(payloads.length === 50 && new Set(payloads).size === 50, 'there are fifty different hostile texts');
  // Through the real path, in every field where Kubernetes takes them.
  const failures = [];
  await Promise.all(payloads.map(async (one, n) => {
    // A patch's text must be without NUL, which no JSON string of the API server may hold.
    const said = one.replaceAll('\u0000', '');
    try {
      await cluster.pod('default', `hostile-${RUN}-${n}`, { annotations: { note: said } });
      await cluster.podStatus('default', `hostile-${RUN}-${n}`, { phase: 'Running', message: said, containerStatuses: [{ name: 'app', image: said, imageID: '', ready: false, restartCount: 3, state: { waiting: { reason: said, message: said } } }] });
      await cluster.call('POST', '/api/v1/namespaces/default/events', { metadata: { name: `hostile-${RUN}-${n}` }, involvedObject: { kind: said, namespace: 'default', name: said }, reason: said.slice(0, 120), message: said, type: 'Warning', count: 1, firstTimestamp: new Date().toISOString(), lastTimestamp: new Date().toISOString() });
    } catch (error) { failures.push(error.message); }
  }));
  judge(failures.length === 0, 'the API server holds all fifty', failures.slice(0, 2).join('; '));
  const real = await open();
  await live(real);
  await until('hostile events are shown', 15, async () => (await text(real, 'events')).includes('onerror=ran()'));
  await until('hostile pods are shown', 15, async () => (await text(real, 'unhealthy')).includes(`hostile-${RUN}`));
  await unharmed(real, 'from the real cluster, hostile events and states of pods run nothing');
  if (env.CLUSTER_SHAPE === 'full') {
    await cluster.printing('default', `printing-${RUN}`, payloads.map((one) => one.replaceAll('\u0000', '')));
    await real.fill('#log-pod', `printing-${RUN}`);
    await real.click('#log-start');
    await until('hostile lines are shown', 15, async () => (await text(real, 'log-rows')).includes('onerror=ran()'));
    await unharmed(real, 'from a real container, hostile log lines run nothing');
  } else console.log('SKIP hostile log lines of a real container: there is no kubelet');
  await real.context().close();

  // What the real path would refuse: such names of pods, labels, log lines, actors, configuration.
  const page = await open({ before: async (one) => {
    await one.routeWebSocket('**/ws', hostile);
    await one.route('**/api/config', (route) => route.fulfill({ json: payloads.map((key, n) => ({ key, value: named(n + 1), source: named(n + 2), where: named(n + 3) })) }));
  } });
  await live(page);
  await page.fill('#log-pod', payloads[11]);
  await page.click('#log-start');
  const shown = (id) => until(`texts in ${id}`, 5, async () => (await text(page, id)).includes('onerror=ran()'));
  for (const id of ['unhealthy', 'health', 'events', 'commands', 'recent', 'features', 'config-rows', 'log-rows', 'agent-line']) await shown(id);
  await page.fill('#log-search', 'onerror');
  await until('the search marks', 5, () => page.evaluate(() => document.querySelectorAll('#log-rows mark').length > 0));
  await unharmed(page, 'as names of pods, labels, log lines, commands and configuration they run nothing');
  const counted = await page.evaluate(() => document.querySelectorAll('#unhealthy .row').length);
  judge(counted === 100, 'each of them is shown as text', `${counted} rows`);
  await page.context().close();
}

async function strangers() {
  const hostileSite = await site();
  const own = new URL(programs.page), target = `http://127.0.0.1:${own.port}/`;
  const cases = [
    ['another site', `http://evil.stranger.test:${hostileSite.port}/`, target],
    ['another port of the same host', `http://127.0.0.1:${hostileSite.port}/`, target],
    ['another site, by localhost', `http://evil.stranger.test:${hostileSite.port}/`, `http://localhost:${own.port}/`],
    ['another site, by a rebound name', `http://evil.stranger.test:${hostileSite.port}/`, `http://rebound.stranger.test:${own.port}/`],
  ];
  const reach = async (name, from, to) => {
    const context = await browser.newContext();
    const page = await context.newPage();
    const answer = await page.goto(from);
    const told = await page.evaluate(attempts, to);
    const read = Object.entries(told).filter(([, one]) => 'read' in one);
    judge(read.length === 0 && Object.keys(told).length >= 27, `${name} reads nothing of ${Object.keys(told).length} tries`, read.map(([how, one]) => `${how}: ${one.read}`).join('; ').slice(0, 600));
    await context.close();
    return answer;
  };
  for (const [name, from, to] of cases) await reach(name, from, to);
  // Rebinding proper: the stranger's own name comes to lead here, so that all is of one origin.
  const rebound = `http://rebound.stranger.test:${own.port}/`;
  const answer = await reach('a page under a rebound name', `${rebound}dashboard`, rebound);
  judge(answer.status() >= 400, 'a rebound name is not even given the page', `status ${answer.status()}`);
  const good = await open();
  await live(good);
  // The same tries from the page itself: what strangers are refused is there to be read.
  const mine = await good.evaluate(attempts, target);
  const readable = ['fetch api/config', 'fetch api/metrics/runtime', 'EventSource', 'WebSocket pipeops.local.v1'];
  judge(readable.every((name) => mine[name] && 'read' in mine[name]), 'the page itself reads what strangers cannot', readable.filter((name) => !(mine[name] && 'read' in mine[name])).join(', '));
  await good.context().close();
  hostileSite.close();
}

async function people() {
  for (const scheme of ['dark', 'light']) {
    const page = await open({ colorScheme: scheme });
    await live(page);
    await until('figures', 5, async () => (await text(page, 'memory')) !== '—');
    const poor = await page.evaluate(contrast);
    judge(poor.length === 0, `every text has the contrast of AA in ${scheme}`, poor.slice(0, 5).join('; '));
    await page.click('#theme');
    const after = await page.evaluate(() => getComputedStyle(document.documentElement).colorScheme);
    judge(after === (scheme === 'dark' ? 'light' : 'dark'), `the switch turns ${scheme} round`, after);
    await page.context().close();
  }
  const page = await open({ viewport: { width: 360, height: 780 }, reducedMotion: 'reduce' });
  await live(page);
  judge(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'at 360 px nothing is wider than the page');
  judge(await page.evaluate(() => document.getAnimations().filter((one) => one.playState === 'running').length === 0), 'who asks for less motion gets none');
  await page.keyboard.press('Tab');
  judge(await page.evaluate(() => document.activeElement.classList.contains('skip') && document.activeElement.getBoundingClientRect().top >= 0), 'the first stop of the keyboard is the skip link');
  await page.keyboard.press('Enter');
  judge(await page.evaluate(() => document.activeElement.id === 'main'), 'it leads to the content');
  const stops = new Set();
  for (let n = 0; n < 80 && !stops.has('config-set'); n += 1) {
    await page.keyboard.press('Tab');
    const stop = await page.evaluate(() => { const node = document.activeElement, style = getComputedStyle(node); return { id: node.id || node.getAttribute('aria-label') || node.textContent, ring: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0 }; });
    if (!stop.ring) stops.add(`no ring: ${stop.id}`);
    stops.add(stop.id);
  }
  const wanted = ['log-namespace', 'log-pod', 'log-selector', 'log-container', 'log-tail', 'log-start', 'log-search', 'log-pause', 'log-clear', 'log-view', 'config-search', 'config-set'];
  judge(wanted.every((id) => stops.has(id)) && ![...stops].some((one) => String(one).startsWith('no ring')), 'the keyboard reaches every control and shows where it is', [...stops].filter((one) => String(one).startsWith('no ring')).join(', '));
  await page.context().close();
}

try {
  await programs.up();
  await part('live updates', updates);
  await part('recovery', recovers);
  await part('hostile texts', texts);
  await part('strangers', strangers);
  await part('people', people);
} catch (error) {
  judge(false, 'the programs start', String(error.stack || error).slice(0, 900));
} finally {
  await browser.close();
  await programs.down();
}
process.exit(failed ? 1 : 0);
