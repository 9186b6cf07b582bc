// Owns a hostile site: a page on an origin that is not the agent's, which tries every way to read
// it. Owns not: the verdict. What it could read comes back as text; refusals come back as errors.
import http from 'node:http';

export function site() {
  return new Promise((resolve) => {
    const server = http.createServer((_, answer) => {
      answer.setHeader('content-type', 'text/html');
      answer.end('<!doctype html><title>stranger</title><p>stranger');
    }).listen(0, '127.0.0.1', () => resolve({ port: server.address().port, close: () => server.close() }));
  });
}

/** Runs in the hostile page. */
export async function attempts(target) {
  const api = ['api/config', 'api/health/detailed', 'api/status/features', 'api/metrics/runtime', 'api/status/connectivity', 'api/realtime/events?channels=status', 'api/realtime/logs?namespace=default&pod=x'];
  const within = (promise) => Promise.race([promise, new Promise((_, no) => setTimeout(() => no(new Error('no answer')), 3000))]);
  const told = {};
  const attempt = async (name, act) => { try { told[name] = { read: String(await within(act())).slice(0, 200) }; } catch (error) { told[name] = { refused: String(error.message || error.type || error).slice(0, 120) }; } };
  const body = async (answer) => {
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const reader = answer.body.getReader();
    const { value } = await reader.read();
    reader.cancel();
    return new TextDecoder().decode(value);
  };
  for (const path of api) {
    await attempt(`fetch ${path}`, async () => body(await fetch(new URL(path, target))));
    await attempt(`fetch with a bearer ${path}`, async () => body(await fetch(new URL(path, target), { headers: { authorization: 'Bearer guess' } })));
    await attempt(`fetch with cookies ${path}`, async () => body(await fetch(new URL(path, target), { credentials: 'include' })));
  }
  await attempt('opaque fetch', async () => { const answer = await fetch(new URL('api/config', target), { mode: 'no-cors' }); const text = await answer.text(); if (!text) throw new Error('nothing to read'); return text; });
  await attempt('EventSource', () => new Promise((yes, no) => {
    const source = new EventSource(new URL('api/realtime/events?channels=status,metrics', target));
    for (const name of ['message', 'status', 'metrics', 'open']) source.addEventListener(name, (event) => { source.close(); yes(`${name} ${event.data}`); });
    source.onerror = (error) => { source.close(); no(error); };
  }));
  for (const protocols of [[], ['pipeops.local.v1'], ['pipeops.local.v1', 'bearer.Z3Vlc3M']]) {
    await attempt(`WebSocket ${protocols}`, () => new Promise((yes, no) => {
      const address = new URL('ws', target);
      address.protocol = 'ws:';
      const socket = new WebSocket(address, protocols);
      socket.onopen = () => socket.send('{"type":"subscribe","channels":["status"]}');
      socket.onmessage = (event) => { socket.close(); yes(event.data); };
      socket.onclose = () => no(new Error('closed'));
    }));
  }
  await attempt('script', () => new Promise((yes, no) => {
    const script = document.createElement('script');
    script.src = new URL('api/config', target);
    script.onload = () => yes('it loaded');
    script.onerror = no;
    document.head.append(script);
  }));
  await attempt('frame', () => new Promise((yes, no) => {
    const frame = document.createElement('iframe');
    frame.src = new URL('dashboard', target);
    frame.onload = () => { try { yes(frame.contentDocument.body.textContent); } catch (error) { no(error); } };
    frame.onerror = no;
    document.body.append(frame);
  }));
  return told;
}
