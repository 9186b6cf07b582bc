// Owns the one connection to the agent: WebSocket, or an event stream read by fetch where WebSocket
// is turned off; when it was last heard of, and how it is had again. Owns not: what updates mean.
// The token lives in this object and nowhere else: not in an address, not in storage.

const PROTOCOL = 'pipeops.local.v1';
const CHANNELS = ['status', 'health', 'metrics', 'events', 'commands'];
// The agent speaks every second: this long a silence is worth telling.
const SILENCE = 5000;
const PING_AFTER = 8000;
const DROP_AFTER = 15000;
const OPEN_WITHIN = 6000;
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 5000;
// An event of more than this is nothing that the agent sends.
const LONGEST_EVENT = 4 * 1024 * 1024;

export const base = new URL('.', document.baseURI);

function encoded(token) {
  let binary = '';
  for (const byte of new TextEncoder().encode(token)) binary += String.fromCharCode(byte);
  return btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
}

export class Refused extends Error {}

export class Feed {
  /** `on`: update(channel, data, at), message(message), opened(how), changed(), token(wrong). */
  constructor(on) {
    this.on = on;
    this.token = '';
    this.phase = 'connecting';
    this.heard = 0;
    this.nextTry = 0;
    this.pause = FIRST_PAUSE;
    this.round = 0;
    this.stop = null;
    this.socket = null;
    this.lastId = '';
    this.channels = CHANNELS;
    setInterval(() => this.look(), 500);
    addEventListener('online', () => this.retry());
    document.addEventListener('visibilitychange', () => { if (!document.hidden && this.phase === 'waiting') this.retry(); });
  }

  get silence() { return this.heard ? Date.now() - this.heard : 0; }
  get stale() { return this.phase !== 'asking' && (this.phase !== 'live' ? this.heard > 0 && this.silence > 1500 : this.silence > SILENCE); }

  setToken(token) { this.token = token; this.retry(); }

  headers() { return this.token ? { Authorization: `Bearer ${this.token}` } : {}; }

  async get(path, signal) {
    const answer = await fetch(new URL(path, base), { headers: this.headers(), cache: 'no-store', credentials: 'omit', redirect: 'error', signal });
    if (answer.status === 401) throw new Refused(String(answer.status));
    return answer;
  }

  send(message) {
    if (!this.socket || this.socket.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }

  become(phase) {
    if (this.phase === phase) return;
    this.phase = phase;
    this.on.changed();
  }

  hear() { this.heard = Date.now(); }

  look() {
    const now = Date.now();
    if (this.phase === 'live') {
      if (this.silence > DROP_AFTER) { if (this.stop) this.stop.abort(); }
      else if (this.silence > PING_AFTER && now - (this.pinged || 0) > PING_AFTER / 2) { this.pinged = now; this.send({ type: 'ping' }); }
    }
    if (this.phase === 'waiting' && now >= this.nextTry) this.run();
    this.on.changed();
  }

  retry() {
    if (this.stop) this.stop.abort();
    this.pause = FIRST_PAUSE;
    this.phase = 'waiting';
    this.run();
  }

  /** One attempt and the life of what it gives; never two at a time. */
  async run() {
    const round = ++this.round;
    const stop = this.stop = new AbortController();
    this.become('connecting');
    const within = () => AbortSignal.any([stop.signal, AbortSignal.timeout(OPEN_WITHIN)]);
    try {
      const answer = await this.get('api/config', within());
      if (answer.ok) this.on.config(await answer.json());
      const panels = await this.get('api/panels', within());
      const told = panels.ok ? await panels.json() : {};
      const there = Array.isArray(told.channels) ? told.channels : CHANNELS;
      this.channels = [...new Set([...CHANNELS, ...this.on.declared(told)])].filter((name) => there.includes(name));
      if (!await this.overSocket(stop.signal)) await this.overStream(stop.signal);
    } catch (error) {
      if (round === this.round && error instanceof Refused) {
        this.become('asking');
        this.on.token(this.token !== '');
        return;
      }
    }
    if (round !== this.round) return;
    stop.abort();
    this.nextTry = Date.now() + this.pause * (0.75 + Math.random() / 2);
    this.pause = Math.min(this.pause * 2, LONGEST_PAUSE);
    this.become('waiting');
  }

  live(how) {
    this.pause = FIRST_PAUSE;
    this.hear();
    this.on.opened(how);
    this.become('live');
  }

  /** False where no WebSocket could be had; otherwise returns at its end. */
  overSocket(signal) {
    const address = new URL('ws', base);
    address.protocol = address.protocol === 'https:' ? 'wss:' : 'ws:';
    const protocols = this.token ? [PROTOCOL, `bearer.${encoded(this.token)}`] : [PROTOCOL];
    return new Promise((resolve) => {
      const socket = new WebSocket(address, protocols);
      let welcome = false;
      const deadline = setTimeout(() => socket.close(), OPEN_WITHIN);
      const abort = () => done();
      const done = () => {
        clearTimeout(deadline);
        signal.removeEventListener('abort', abort);
        if (this.socket === socket) this.socket = null;
        socket.onmessage = socket.onclose = null;
        socket.close();
        resolve(welcome || signal.aborted);
      };
      signal.addEventListener('abort', abort);
      socket.onclose = done;
      socket.onmessage = (event) => {
        let message;
        try { message = JSON.parse(event.data); } catch { return; }
        this.hear();
        if (message.type === 'welcome' && !welcome) {
          welcome = true;
          clearTimeout(deadline);
          this.socket = socket;
          this.send({ type: 'subscribe', channels: this.channels });
          this.live('WebSocket');
        } else if (message.type === 'update') this.on.update(message.channel, message.data, message.at);
        else this.on.message(message);
      };
    });
  }

  async overStream(signal) {
    const seen = (event) => {
      if (event.id) this.lastId = event.id;
      if (!event.data) return;
      try { this.on.update(event.name, JSON.parse(event.data)); } catch { /* Not ours. */ }
    };
    await this.stream(`api/realtime/events?channels=${this.channels.map(encodeURIComponent).join(',')}`, signal, () => this.live('event stream'), seen, () => this.hear());
  }

  /** Reads an event stream until it ends; heartbeats count as being heard. */
  async stream(path, signal, opened, seen, heard = () => {}) {
    const answer = await this.get(path, signal);
    if (!answer.ok || !answer.body) throw new Error(await told(answer));
    opened();
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '', event = { name: 'message', id: '', data: '' };
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      heard();
      rest += value;
      if (rest.length > LONGEST_EVENT) throw new Error('too long an event');
      const lines = rest.split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line === '') { seen(event); event = { name: 'message', id: '', data: '' }; continue; }
        const at = line.indexOf(':');
        if (at === 0) continue;
        const field = at < 0 ? line : line.slice(0, at), text = at < 0 ? '' : line.slice(at + 1).replace(/^ /, '');
        if (field === 'event') event.name = text;
        else if (field === 'id') event.id = text;
        else if (field === 'data') event.data += (event.data ? '\n' : '') + text;
      }
    }
  }
}

export async function told(answer) {
  try {
    const { error } = await answer.json();
    return [error.message, error.remedy].filter(Boolean).join('. ') || `status ${answer.status}`;
  } catch { return `status ${answer.status}`; }
}
