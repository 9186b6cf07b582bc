// Owns what the browser is shown: the gateway and the agent as two programs over a real API server,
// and calls to that server past both. Ends what it starts.
import { spawn, execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import net from 'node:net';

export function facts(file) {
  const pairs = readFileSync(file, 'utf8').split('\n').filter((line) => line.includes('=')).map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]);
  return Object.fromEntries(pairs);
}

export function freePort() {
  return new Promise((resolve) => {
    const server = net.createServer().listen(0, '127.0.0.1', () => { const { port } = server.address(); server.close(() => resolve(port)); });
  });
}

export async function until(what, seconds, look) {
  const from = performance.now();
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    if (performance.now() - from > seconds * 1000) throw new Error(`not within ${seconds} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A call to the API server as its administrator. */
export class Cluster {
  constructor(env) {
    this.env = env;
    this.ca = readFileSync(env.CLUSTER_CA);
    this.agent = new https.Agent({ keepAlive: true });
  }

  call(method, path, body, type = 'application/json') {
    return new Promise((resolve, reject) => {
      const request = https.request(new URL(path, this.env.CLUSTER_API), { method, ca: this.ca, agent: this.agent, headers: { authorization: `Bearer ${this.env.CLUSTER_ADMIN_TOKEN}`, 'content-type': type } }, (answer) => {
        let text = '';
        answer.on('data', (part) => { text += part; });
        answer.on('end', () => (answer.statusCode < 300 ? resolve(JSON.parse(text)) : reject(new Error(`${method} ${path}: ${answer.statusCode} ${text.slice(0, 300)}`))));
      });
      request.on('error', reject);
      request.end(body && JSON.stringify(body));
    });
  }

  async pod(namespace, name, more = {}) {
    // Nobody schedules it, so that its state is what the test says.
    const spec = { schedulerName: 'nobody', containers: [{ name: 'app', image: 'none' }], automountServiceAccountToken: false, terminationGracePeriodSeconds: 0 };
    await this.call('POST', `/api/v1/namespaces/${namespace}/pods`, { metadata: { name, ...more }, spec });
  }

  /** A pod that the kubelet runs, and that prints these lines. */
  async printing(namespace, name, lines) {
    const container = { name: 'app', image: 'localhost/busybox:1.35', command: ['sh', '-c', 'printf "%s\\n" "$@"; sleep 1000', 'sh', ...lines] };
    await this.call('POST', `/api/v1/namespaces/${namespace}/pods`, { metadata: { name }, spec: { containers: [container], terminationGracePeriodSeconds: 0 } });
    await until('the pod runs', 60, async () => (await this.call('GET', `/api/v1/namespaces/${namespace}/pods/${name}`)).status.phase === 'Running');
  }

  podStatus(namespace, name, status) {
    return this.call('PATCH', `/api/v1/namespaces/${namespace}/pods/${name}/status`, { status }, 'application/strategic-merge-patch+json');
  }
}

export class Programs {
  constructor(env, folder) {
    this.env = env;
    this.folder = folder;
    mkdirSync(folder, { recursive: true });
    this.direct = `${folder}/direct`;
    writeFileSync(this.direct, JSON.stringify({
      apiVersion: 'v1', kind: 'Config', 'current-context': 'direct',
      clusters: [{ name: 'direct', cluster: { server: env.CLUSTER_API, 'certificate-authority': env.CLUSTER_CA } }],
      users: [{ name: 'direct', user: { token: env.CLUSTER_ADMIN_TOKEN } }],
      contexts: [{ name: 'direct', context: { cluster: 'direct', user: 'direct' } }],
    }), { mode: 0o600 });
  }

  start(name, program, args, environment = {}) {
    const log = openSync(`${this.folder}/${name}.log`, 'a');
    const child = spawn(program, args, { stdio: ['ignore', log, log], env: { ...process.env, ...environment } });
    closeSync(log);
    child.gone = new Promise((resolve) => child.on('exit', resolve));
    return child;
  }

  async up() {
    const gateway = process.env.PIPEOPS_GATEWAY, tokens = `${this.folder}/tokens.json`;
    const made = (...args) => execFileSync(gateway, ['token', '--tokens', tokens, 'add', ...args], { encoding: 'utf8' });
    writeFileSync(`${this.folder}/agent-token`, made('agent', 'here'), { mode: 0o600 });
    this.userToken = made('user', 'tester', '--group', 'admins').trim();
    this.gateway = this.start('gateway', gateway, ['serve', '--listen', '127.0.0.1:0', '--dev-cert', `${this.folder}/cert`, '--tokens', tokens]);
    this.url = await until('the gateway listens', 20, () => /https:\/\/[0-9.:]+/.exec(readFileSync(`${this.folder}/gateway.log`, 'utf8'))?.[0]);
    this.port = await freePort();
    this.page = `http://127.0.0.1:${this.port}/dashboard`;
    await this.agentUp();
  }

  async agentUp() {
    this.agent = this.start('agent', process.env.PIPEOPS_AGENT, [
      'run', '--api-url', this.url, '--ca-file', `${this.folder}/cert/ca.crt`, '--token-file', `${this.folder}/agent-token`, '--cluster-name', 'here',
      '--kubeconfig', this.direct, '--access', 'admin', '--listen', `127.0.0.1:${this.port}`]);
    await until('the agent is ready', 30, async () => {
      if (this.agent.exitCode !== null) throw new Error(`the agent ended: ${readFileSync(`${this.folder}/agent.log`, 'utf8').slice(-800)}`);
      try { return (await fetch(`http://127.0.0.1:${this.port}/ready`)).ok; } catch { return false; }
    });
  }

  async agentDown(signal = 'SIGKILL') { this.agent.kill(signal); await this.agent.gone; }

  /** A request through the gateway, aborted by the caller. */
  through(path) {
    const request = https.get(new URL(path, this.url), { ca: readFileSync(`${this.folder}/cert/ca.crt`), headers: { authorization: `Bearer ${this.userToken}` } }, (answer) => answer.resume());
    request.on('error', () => {});
    return request;
  }

  async down() {
    for (const child of [this.agent, this.gateway]) {
      if (!child || child.exitCode !== null) continue;
      child.kill('SIGINT');
      const late = setTimeout(() => child.kill('SIGKILL'), 10000);
      await child.gone;
      clearTimeout(late);
    }
  }
}
