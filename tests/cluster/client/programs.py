"""Agent and gateway as two processes over a test cluster, and what the kernel knows of them.

Owns their files, tokens, ports and ends. The programs are the real ones, started by their command
lines; a check may kill, stop and start each, and finds them on the same port again.
"""
import atexit
import http.client
import json
import os
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from urllib.parse import urlsplit

CLUSTER = "it"


def environment(path):
    """The facts of a cluster, out of its env file."""
    with open(path, encoding="utf-8") as file:
        pairs = (line.rstrip("\n").split("=", 1) for line in file if "=" in line)
        return {name: "".join(shlex.split(value)) for name, value in pairs}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(seconds, act, what):
    """Polls until `act` gives something true; says how long it took."""
    begun = time.monotonic()
    while True:
        try:
            found = act()
        except (OSError, http.client.HTTPException, ValueError):
            found = None
        if found:
            return time.monotonic() - begun
        if time.monotonic() - begun > seconds:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.02)


def get(url, path, ca=None, token=None, timeout=5, headers=()):
    """One GET on a connection of its own: status and body."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        trust = ssl.create_default_context(cafile=ca)
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=timeout, context=trust)
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    try:
        sent = dict(headers, **({"Authorization": "Bearer " + token} if token else {}))
        connection.request("GET", parts.path + path, headers=sent)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def metric(text, name, **labels):
    """The sum of a family's samples that carry these labels."""
    total = 0.0
    for line in text.splitlines():
        found = re.match(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)", line)
        if found and found[1] == name:
            have = dict(re.findall(r'(\w+)="([^"]*)"', found[2] or ""))
            if all(have.get(key) == value for key, value in labels.items()):
                total += float(found[3])
    return total


class Process:
    """A program: its command, its log, and its life."""

    def __init__(self, name, command, folder, environ=None):
        self.name, self.command = name, command
        self.environ = dict(os.environ, **(environ or {}))
        self.output, self.log = f"{folder}/{name}.out", f"{folder}/{name}.log"
        self.child = None
        atexit.register(self.kill)

    def start(self, wrapper=()):
        with open(self.output, "wb") as out, open(self.log, "ab") as log:
            command = [*wrapper, *self.command]
            self.child = subprocess.Popen(command, stdout=out, stderr=log, stdin=subprocess.DEVNULL, env=self.environ)

    @property
    def pid(self):
        return self.child.pid

    def signal(self, number):
        self.child.send_signal(number)

    def kill(self):
        if self.child and self.child.poll() is None:
            self.child.kill()
        if self.child:
            self.child.wait()

    def stop(self):
        """SIGTERM; the exit code, or by force after 40 s."""
        self.signal(signal.SIGTERM)
        try:
            return self.child.wait(40)
        except subprocess.TimeoutExpired:
            self.kill()
            return "killed"

    def alive(self):
        return self.child is not None and self.child.poll() is None

    def logged(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def status(self, field):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(field + ":"))

    def memory(self):
        """Resident MiB now."""
        return self.status("VmRSS") / 1024

    def peak(self):
        """The most that it was since the start or `forget_peak`."""
        return self.status("VmHWM") / 1024

    def forget_peak(self):
        with open(f"/proc/{self.pid}/clear_refs", "w", encoding="ascii") as file:
            file.write("5")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))


class Tunnel:
    """Gateway and agent, with one agent's and one user's token."""

    def __init__(self, facts, gateway=(), agent=(), api=None, ca=None, token=None):
        self.facts = facts
        self.folder = tempfile.mkdtemp(prefix="pipeops-check-")
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        self.api, self.api_ca = api or facts["CLUSTER_API"], ca or facts["CLUSTER_CA"]
        self.api_token = token or facts["CLUSTER_ADMIN_TOKEN"]
        self.program = os.environ.get("PIPEOPS_GATEWAY", "pipeops-gateway")
        self.tokens, self.port, self.local = f"{self.folder}/tokens.json", free_port(), free_port()
        self.agent_token, self.user_token = self.add("agent", CLUSTER), self.add("user", "ada", "--group", "dev")
        self.ca = f"{self.folder}/dev/ca.crt"
        self.url, self.local_url = f"https://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.local}"
        self.base = f"{self.url}/clusters/{CLUSTER}/k8s"
        self.write("agent.token", self.agent_token)
        self.write("kubeconfig", json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": self.api, "certificate-authority": self.api_ca}}],
            "users": [{"name": "u", "user": {"token": self.api_token}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]}))
        self.gateway = Process("gateway", [
            self.program, "serve", "--listen", f"127.0.0.1:{self.port}", "--tokens", self.tokens,
            "--dev-cert", f"{self.folder}/dev", "--log-format", "json", *gateway], self.folder)
        self.agent = Process("agent", [
            os.environ.get("PIPEOPS_AGENT", "pipeops-agent"), "run", "--api-url", self.url,
            "--token-file", f"{self.folder}/agent.token", "--ca-file", self.ca, "--access", "admin",
            "--kubeconfig", f"{self.folder}/kubeconfig", "--listen", f"127.0.0.1:{self.local}",
            "--log-format", "json", *agent], self.folder)

    def write(self, name, text):
        with open(f"{self.folder}/{name}", "w", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(text)

    def add(self, *whom):
        command = [self.program, "token", "--tokens", self.tokens, "add", *whom]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def start_gateway(self, wrapper=()):
        self.gateway.start(wrapper)
        wait_for(20, self.listens, "the gateway listens")

    def listens(self):
        if not self.gateway.alive():
            raise RuntimeError("the gateway ended: " + self.gateway.logged()[-500:])
        return os.path.exists(self.ca) and get(self.url, "/health", self.ca)[0] == 200

    def works(self):
        return self.get("/version", timeout=2)[0] == 200

    def up(self, gateway_wrapper=(), agent_wrapper=()):
        self.start_gateway(gateway_wrapper)
        self.agent.start(agent_wrapper)
        wait_for(30, self.works, "the tunnel works")
        return self

    def get(self, path, timeout=10, token=None, headers=()):
        return get(self.base, path, self.ca, token or self.user_token, timeout, headers)

    def direct(self, path, timeout=10):
        return get(self.facts["CLUSTER_API"], path, self.facts["CLUSTER_CA"], self.facts["CLUSTER_ADMIN_TOKEN"], timeout)

    def gateway_metrics(self):
        return get(self.url, "/metrics", self.ca)[1].decode()

    def agent_metrics(self):
        return get(self.local_url, "/metrics")[1].decode()

    def panics(self):
        return [line for line in (self.agent.logged() + self.gateway.logged()).splitlines() if "panic" in line.lower()]

    def down(self):
        """Ends both in good order; their exit codes."""
        return self.agent.stop(), self.gateway.stop()
