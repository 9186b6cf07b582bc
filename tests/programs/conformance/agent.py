"""Sessions against `pipeops-agent run`: the gateway and the API server are played.

Owns the program's surroundings and what brings its lines about. What a program chooses by itself is
compared by what is stable: its version, instance and window, the words of its messages.
"""
import asyncio
import base64
import hashlib
import json
import os
import shutil
import signal
import ssl
import tempfile

from apiserver import ApiServer
from notation import Mismatch, bytes_of, hurried, open_in, pattern, stream_of
from peer import GUID, PROTOCOL, head_of
from programs import Process
from replay import Replay, within
from wire import Wire

# Nothing of these reaches the API server.
UNBEGUN = ("forbidden", "bad_request", "unknown_command", "indeterminate", "busy", "shutting_down")


class Gateway:
    """Listens for one agent. A hook for each request of the agent's answers it."""

    def __init__(self, certificate):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*certificate)
        self.requests, self.server, self.port = asyncio.Queue(), None, 0

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=self.context, limit=1 << 22)
        self.port = self.server.sockets[0].getsockname()[1]

    def stop(self):
        self.server.close()

    async def serve(self, reader, writer):
        try:
            line, headers = await head_of(reader)
            body = await reader.readexactly(int(headers.get("content-length", 0)))
        except (OSError, asyncio.IncompleteReadError, ssl.SSLError):
            return writer.transport.abort()
        self.requests.put_nowait(Asked(line, headers, body, reader, writer))

    async def asked(self, seconds):
        try:
            return await asyncio.wait_for(self.requests.get(), seconds)
        except asyncio.TimeoutError:
            raise Mismatch("the agent does not come") from None


class Asked:
    """One request of the agent's to its gateway."""

    def __init__(self, line, headers, body, reader, writer):
        self.method, self.path = line.split(" ")[:2]
        self.headers, self.body, self.reader, self.writer = headers, body, reader, writer

    def answer(self, status, headers=(), body=None):
        payload = b"" if body is None else json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status} As told", *(f"{name}: {value}" for name, value in headers)]
        if status != 101:
            lines += [f"content-length: {len(payload)}", "connection: close"]
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + payload)
        if status != 101:
            self.writer.close()

    def upgrade(self, protocols=(PROTOCOL,)):
        key = self.headers.get("sec-websocket-key", "").encode()
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()
        headers = [("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-accept", accept)]
        self.answer(101, headers + [("sec-websocket-protocol", name) for name in protocols])


class Surroundings:
    """A gateway, an API server, and the agent between them."""

    def __init__(self, bench, hello, *flags, access="admin"):
        self.folder = tempfile.mkdtemp(prefix="pipeops-conformance-")
        self.gateway = Gateway(bench.certificate)
        self.api = ApiServer(hello["cluster"].get("uid", ""))
        self.bench, self.hello, self.flags, self.access = bench, hello, flags, access
        self.process = None

    async def start(self):
        await self.gateway.start()
        await self.api.start()
        self.write("token", "pgt_00000000_" + "0" * 64)
        self.write("kubeconfig", json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{self.api.port}"}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]}))
        self.process = Process("agent", [
            os.environ.get("PIPEOPS_AGENT", "pipeops-agent"), "run", "--api-url", f"https://127.0.0.1:{self.gateway.port}",
            "--token-file", f"{self.folder}/token", "--ca-file", self.bench.ca, "--access", self.access,
            "--kubeconfig", f"{self.folder}/kubeconfig", "--listen", "127.0.0.1:0", "--log-format", "json",
            "--agent-id", self.hello["agent"]["id"], "--cluster-name", self.hello["cluster"]["name"], *self.flags], self.folder)
        self.process.start()

    def write(self, name, text):
        with open(f"{self.folder}/{name}", "w", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(text)

    def stop(self):
        self.gateway.stop()
        self.api.stop()
        if self.process:
            self.process.kill()
            panics = [line for line in self.process.logged().splitlines() if "panic" in line.lower()]
            if panics:
                raise Mismatch(f"the agent panicked: {panics[0][:200]}")
        shutil.rmtree(self.folder, ignore_errors=True)


class AgentReplay(Replay):
    end, other = "agent", "gateway"

    def __init__(self, session, wire, surroundings, tamper=None):
        super().__init__(session, wire, tamper)
        self.api, self.process, self.readonly = surroundings.api, surroundings.process, surroundings.access == "readonly"
        self.gateway = surroundings.gateway
        self.requests, self.commands, self.last = {}, {}, 0
        self.reports = sum(1 for line in session.lines if line.get("frame", {}).get("type") == "report")
        self.credit, self.finished = {}, set()

    def stable(self, frame):
        kind = frame.get("type")
        if kind == "report":
            self.reports -= 1
            frame = {key: value for key, value in frame.items() if key != "commands"}
            return {**frame, "access": "readonly"} if self.readonly else frame
        if kind == "heartbeat":
            return {**frame, "commands": "$any", "uptime_s": "$any"}
        if kind == "goaway":
            return {**frame, "message": "$any"}
        return frame

    def aside(self, message):
        if message["type"] == "report" and self.reports <= 0:
            # P-110: its health may change at any time.
            self.wire.text({"type": "ack", "report": message["seq"]})
            return True
        return super().aside(message)

    async def again(self, hello, welcome):
        self.last = 0
        wire, self.window = await shake(self.session, self.gateway, hello, welcome)
        return wire

    async def before(self, line):
        stream = stream_of(line["frame"])
        if "data" in line["frame"] and stream in self.session.head.get("unread", []) and stream not in self.credit:
            await self.stall(stream)

    async def stall(self, stream):
        """Makes an echo read no more: what it sends back gets no credit. The way down is left with
        as much credit as the line of `hello` gives it."""
        self.credit[stream] = 0
        if self.commands[stream]["args"].get("mode") != "echo":
            return
        stated = self.lines[0]["frame"]["window"]
        left, seen = self.window - (stated if stated < self.window else 4096), 0
        while True:
            while left > 0:
                size = min(left, 16384)
                self.wire.bytes(stream, pattern(size))
                left -= size
            got = await self.wire.receive(0.3)
            if got is None:
                break
            if got["kind"] != "data" or got["stream"] != stream:
                self.keep(got)
            given = self.wire.given.get(stream, 0)
            left, seen = left + given - seen, given
        self.finished.add(stream)

    async def said(self, line):
        frame = line["frame"]
        opened = open_in(frame)
        if opened and opened["stream"] == self.last + 1:
            self.last += 1
            self.commands[self.last] = opened["command"]
            resume = opened.get("resume")
            resumed = isinstance(resume, dict) and resume.get("count", 0) > 0
            if opened["command"]["name"] == "k8s.request" and not resumed and self.begins(self.last):
                await self.arrive(self.last, opened["command"]["args"])
        if "reset" in frame:
            request = self.requests.get(frame["reset"]["stream"])
            if request and not request.answered:
                await within(5, lambda: request.gone, "the API server still has the request that was reset")

    def begins(self, stream):
        """Whether the lines let this request reach the API server."""
        for line in self.lines:
            frame = line.get("frame", {})
            if line.get("from") == "agent" and stream_of(frame) == stream and frame.get("type") == "end":
                return frame.get("error", {}).get("code") not in UNBEGUN
        return True

    async def arrive(self, stream, args):
        try:
            request = await asyncio.wait_for(self.api.arrived.get(), 5)
        except asyncio.TimeoutError:
            raise Mismatch("the request did not reach the API server") from None
        self.requests[stream] = request
        names = {name for name, _ in args.get("headers", [])}
        got = (request.method, request.path, request.query, [[n, v] for n, v in request.headers if n in names])
        wanted = (args["method"], args["path"], args.get("query"), args.get("headers", []))
        if args.get("upgrade"):
            got, wanted = (*got[:3], sorted(got[3])), (*wanted[:3], sorted(wanted[3]))
        if got != wanted:
            raise Mismatch(f"the API server got {got}")
        if request.header("authorization") != "Bearer t":
            raise Mismatch("the agent's own credential is missing")

    async def act(self, line):
        frame = line["frame"]
        if frame.get("type") == "goaway":
            return self.process.signal(signal.SIGTERM)
        request = self.requests.get(stream_of(frame))
        if request is None:
            return
        if frame.get("type") == "event":
            request.head(frame["event"]["head"]["status"], frame["event"]["head"]["headers"])
        elif "data" in frame:
            request.data(bytes_of(frame["data"]))
            if frame["data"].get("fin"):
                request.end()
        elif frame.get("type") == "end":
            code = frame.get("error", {}).get("code")
            if code == "upstream_failed":
                request.abort()
            elif code is None:
                request.end()

    async def judge(self):
        for stream, request in self.requests.items():
            wanted = self.expected.get(stream, b"")
            await within(2, lambda: request.body == wanted, f"the API server got {len(request.body)} of {len(wanted)} bytes")
        if not self.api.arrived.empty():
            raise Mismatch(f"a request that no line asks for: {self.api.arrived.get_nowait().path}")
        if any(line.get("frame", {}).get("type") == "goaway" and line["from"] == "agent" and not line.get("own") for line in self.lines):
            await within(5, lambda: not self.process.alive(), "the agent did not end")
            if self.process.child.returncode != 0:
                raise Mismatch(f"the agent ended with {self.process.child.returncode}")


def welcome_of(session, said):
    """The line's welcome; times that a script waits for are made short."""
    welcome = dict(said)
    if hurried(session, "agent"):
        welcome["ping"] = {"every_ms": 400, "within_ms": 400}
    if any(line.get("frame", {}).get("type") == "heartbeat" for line in session.lines):
        welcome["heartbeat_ms"] = 300
    return welcome


def access_of(session):
    forbids = any(line.get("frame", {}).get("error", {}).get("code") == "forbidden" for line in session.lines)
    return "readonly" if forbids else "admin"


async def shake(session, gateway, hello, welcome, fresh=False):
    """Registration and the handshake, as far as every session has them."""
    asked = await gateway.asked(10)
    # P-1: an answer that is fresh need not be asked for again.
    if fresh or (asked.method, asked.path) == ("POST", "/register"):
        if (asked.method, asked.path) != ("POST", "/register"):
            raise Mismatch(f"{asked.method} {asked.path} came instead of the registration")
        asked.answer(200, [("content-type", "application/json")],
                     {"cluster_id": "prod-eu", "channels": ["/channel"], "reconnect": {"first_ms": 1000, "cap_ms": 60000}})
        asked = await gateway.asked(5)
    if (asked.method, asked.path) != ("GET", "/channel"):
        raise Mismatch(f"{asked.method} {asked.path} came instead of the channel")
    asked.upgrade()
    welcome = welcome_of(session, welcome)
    wire = Wire(asked.reader, asked.writer, False, True, session.head.get("scripted_pings", False))
    got = await wire.receive(5)
    said = (got or {}).get("message", {})
    if said.get("type") != "hello":
        raise Mismatch(f"{got} came instead of hello")
    facts = (said["agent"]["id"], said["cluster"]["name"], said["cluster"].get("uid"))
    if facts != (hello["agent"]["id"], hello["cluster"]["name"], hello["cluster"].get("uid")):
        raise Mismatch(f"hello says {facts}")
    if not set(hello["features"]) <= set(said["features"]):
        raise Mismatch(f"hello offers {said['features']}")
    wire.framed = "binary" in welcome["features"]
    wire.text(welcome)
    return wire, said["window"]


async def replay(bench, session, tamper=None):
    surroundings = Surroundings(bench, session.lines[0]["frame"], access=access_of(session))
    wire = run = None
    try:
        await surroundings.start()
        hello, welcome = (line["frame"] for line in session.lines[:2])
        wire, window = await shake(session, surroundings.gateway, hello, welcome, fresh=True)
        run = AgentReplay(session, wire, surroundings, tamper)
        run.window = window
        await run.run()
    finally:
        if wire:
            (run.wire if run else wire).end()
        surroundings.stop()
