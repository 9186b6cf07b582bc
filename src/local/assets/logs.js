// Owns the log viewer: a bounded buffer, of which only the rows in sight are in the document; search,
// pause, and the end or a gap said in words. Lines stay in this page's memory only.
import { $, clean, count, el, time } from './nodes.js';

const KEPT_LINES = 10000;
const KEPT_CHARACTERS = 8 * 1024 * 1024;
const ROW = 20;
const SPARE = 20;

export class Logs {
  constructor(feed) {
    this.feed = feed;
    this.lines = [];
    this.size = 0;
    this.shown = [];
    this.held = null;
    this.sought = '';
    this.wanted = null;
    this.number = 0;
    this.bottom = true;
    this.drawing = false;
    $('log-form').addEventListener('submit', (event) => { event.preventDefault(); if (this.wanted) this.end('Stopped'); else this.start(this.form()); });
    $('log-search').addEventListener('input', () => { this.sought = $('log-search').value.toLowerCase(); this.filter(); });
    $('log-pause').addEventListener('click', () => this.pause());
    $('log-clear').addEventListener('click', () => this.clear());
    $('log-view').addEventListener('scroll', () => {
      const view = $('log-view');
      this.bottom = view.scrollHeight - view.scrollTop - view.clientHeight < ROW * 2;
      this.draw();
    });
    $('log-view').addEventListener('keydown', (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === 'p') this.pause();
      else if (event.key === '/') { event.preventDefault(); $('log-search').focus(); }
    });
    new ResizeObserver(() => this.draw()).observe($('log-view'));
    document.addEventListener('follow', ({ detail }) => {
      $('log-namespace').value = detail.namespace || 'default';
      $('log-pod').value = detail.pod;
      $('log-selector').value = $('log-container').value = '';
      this.start(this.form());
      $('logs').scrollIntoView();
      $('log-view').focus({ preventScroll: true });
    });
  }

  form() {
    const of = (name) => $(`log-${name}`).value.trim();
    const request = { namespace: of('namespace'), tail: Math.min(1000, Math.max(0, Number(of('tail')) || 0)) };
    for (const name of ['pod', 'selector', 'container']) if (of(name)) request[name] = of(name);
    if (request.pod) delete request.selector;
    return request;
  }

  say(text, bad = false) { $('log-line').textContent = clean(text); $('log-line').classList.toggle('error', bad); }

  start(request) {
    if (!request.pod && !request.selector) { this.say('Name a pod or a label selector', true); $('log-pod').focus(); return; }
    this.leave();
    this.clear();
    if (this.held) this.pause();
    this.wanted = request;
    $('log-start').textContent = 'Stop';
    this.follow();
  }

  follow() {
    if (!this.wanted) return;
    this.number += 1;
    this.id = `log-${this.number}`;
    this.say(`Following ${this.wanted.namespace}/${this.wanted.pod || this.wanted.selector}`);
    if (!this.feed.send({ type: 'logs.start', id: this.id, ...this.wanted })) this.overStream();
  }

  async overStream() {
    const stop = this.streamStop = new AbortController(), id = this.id;
    const query = new URLSearchParams(Object.entries(this.wanted).map(([key, value]) => [key, String(value)]));
    try {
      await this.feed.stream(`api/realtime/logs?${query}`, stop.signal, () => {}, (event) => {
        if (!event.data || stop.signal.aborted) return;
        let data;
        try { data = JSON.parse(event.data); } catch { return; }
        this.take({ ...data, type: event.name, id });
      });
      if (!stop.signal.aborted) this.end('The stream ended');
    } catch (error) {
      if (!stop.signal.aborted) this.end(error.message || 'The stream was lost', true);
    }
  }

  leave() {
    if (this.streamStop) this.streamStop.abort();
    this.streamStop = null;
    if (this.wanted) this.feed.send({ type: 'logs.stop', id: this.id });
    this.wanted = null;
    this.id = '';
  }

  end(text, bad = false) { this.leave(); $('log-start').textContent = 'Follow'; this.say(text, bad); }

  /** After a new connection the stream is asked for again: the tail then says what was missed. */
  again() {
    if (!this.wanted) return;
    if (this.streamStop) this.streamStop.abort();
    this.streamStop = null;
    this.add({ note: 'The page had lost the agent; what follows begins with the last lines again' });
    this.follow();
  }

  take(message) {
    if (!message.id || message.id !== this.id) return;
    if (message.type === 'log') for (const line of Array.isArray(message.lines) ? message.lines : []) this.add(line || {});
    else if (message.type === 'log_gap') this.add({ note: `Lines are missing here: ${clean(message.reason)}` });
    else if (message.type === 'log_note') this.add({ note: clean([message.pod, message.message || message.reason].filter(Boolean).join(': ')) });
    else if (message.type === 'log_end') { const why = `Ended: ${clean(message.message || message.reason)}`; this.add({ note: why }); this.wanted = null; this.end(why, Boolean(message.message)); }
    else if (message.type === 'error') { this.wanted = null; this.end(message.message || message.code || 'Refused', true); }
  }

  add(line) {
    const one = { pod: clean(line.pod), container: clean(line.container), at: time(line.time), text: line.note || clean(line.text), note: Boolean(line.note) };
    this.lines.push(one);
    this.size += one.text.length;
    let gone = 0;
    while (this.lines.length - gone > KEPT_LINES || this.size > KEPT_CHARACTERS) { this.size -= this.lines[gone].text.length; gone += 1; }
    if (gone) this.lines.splice(0, gone);
    if (this.held) { this.held.missed += 1; this.later(); return; }
    if (gone || this.sought) this.stale = true; else this.shown.push(one);
    this.later();
  }

  matches(one) { return !this.sought || one.note || one.text.toLowerCase().includes(this.sought) || one.pod.toLowerCase().includes(this.sought); }

  filter() {
    const from = this.held ? this.held.lines : this.lines;
    this.shown = this.sought ? from.filter((one) => this.matches(one)) : from.slice();
    this.stale = false;
    this.later();
  }

  pause() {
    this.held = this.held ? null : { lines: this.lines.slice(), missed: 0 };
    $('log-pause').textContent = this.held ? 'Resume' : 'Pause';
    $('log-pause').setAttribute('aria-pressed', String(Boolean(this.held)));
    if (!this.held) this.bottom = true;
    this.filter();
  }

  clear() {
    this.lines = []; this.size = 0;
    if (this.held) this.held = { lines: [], missed: 0 };
    this.bottom = true;
    this.filter();
  }

  later() {
    if (this.drawing) return;
    this.drawing = true;
    requestAnimationFrame(() => { this.drawing = false; if (this.stale && !this.held) this.filter(); this.draw(true); });
  }

  draw(moved = false) {
    const view = $('log-view'), total = this.shown.length;
    $('log-space').style.height = `${total * ROW}px`;
    if (moved && this.bottom && !this.held) view.scrollTop = view.scrollHeight;
    const first = Math.max(0, Math.floor(view.scrollTop / ROW) - SPARE);
    const last = Math.min(total, Math.ceil((view.scrollTop + view.clientHeight) / ROW) + SPARE);
    const rows = this.shown.slice(first, last).map((one) => this.row(one));
    $('log-rows').style.transform = `translateY(${first * ROW}px)`;
    $('log-rows').replaceChildren(...rows);
    $('log-empty').hidden = total > 0;
    $('log-empty').textContent = this.sought && this.lines.length ? 'No line matches' : this.wanted ? 'Waiting for lines' : 'No lines yet';
    $('log-count').textContent = [this.sought ? `${count(total)} of ${count((this.held ? this.held.lines : this.lines).length)} lines` : `${count(total)} line${total === 1 ? '' : 's'}`, this.held && `paused, ${count(this.held.missed)} more since`].filter(Boolean).join(' · ');
  }

  row(one) {
    if (one.note) return el('div', 'log-row note', one.text);
    const text = el('span', 'log-text');
    const low = one.text.toLowerCase();
    let at = 0;
    // Only where lower case keeps the length do places in it fit the line.
    if (this.sought && low.length === one.text.length) {
      for (let hit = low.indexOf(this.sought); hit >= 0; hit = low.indexOf(this.sought, at)) {
        text.append(one.text.slice(at, hit), el('mark', '', one.text.slice(hit, hit + this.sought.length)));
        at = hit + this.sought.length;
      }
    }
    text.append(one.text.slice(at));
    return el('div', 'log-row', el('span', 'log-time num', one.at), this.wanted && this.wanted.pod ? null : el('span', 'log-pod', one.pod), text);
  }
}
