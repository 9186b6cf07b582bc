"""Sessions against `pipeops-gateway serve`: the agent and the gateway's callers are played.

Owns the program's surroundings and what brings its lines about. A gateway offers its callers
`k8s.request`: what a session opens as `channel.echo` is asked for as an upload, and its bytes get
the head that an answer needs.
"""
import asyncio
import atexit
import base64
import hashlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import tempfile

from caller import Call
from notation import Mismatch, bytes_of, hurried, pattern, stream_of, text
from peer import PROTOCOL, head_of
from programs import Process, free_port, get, wait_for
from replay import Replay, within
from wire import Wire

HEAD = {"head": {"status": 200, "headers": []}}
# What HTTP itself adds to an answer.
ADDED = ("date", "transfer-encoding", "connection", "content-length")


class Program:
    """A gateway that runs, with tokens for as many clusters as sessions want."""

    def __init__(self, *flags):
        self.folder = tempfile.mkdtemp(prefix="pipeops-conformance-")
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        self.binary = os.environ.get("PIPEOPS_GATEWAY", "pipeops-gateway")
        self.port, self.tokens, self.clusters = free_port(), f"{self.folder}/tokens.json", 0
        self.ca = f"{self.folder}/dev/ca.crt"
        self.certificate = (f"{self.folder}/dev/tls.crt", f"{self.folder}/dev/tls.key")
        self.user = self.token("add", "user", "ada@example.com", "--group", "dev")
        self.process = Process("gateway", [
            self.binary, "serve", "--listen", f"127.0.0.1:{self.port}", "--tokens", self.tokens,
            "--dev-cert", f"{self.folder}/dev", "--log-format", "json", *flags], self.folder)
        # Made before it starts: a running gateway takes new ones up only after a while.
        self.spare = []

    def token(self, *arguments):
        command = [self.binary, "token", "--tokens", self.tokens, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def prepare(self, count):
        """Tokens of agents, written as `token add` writes them: hundreds of processes would be slow."""
        with open(self.tokens, encoding="utf-8") as file:
            known = json.load(file)
        for number in range(count):
            identity, cluster = f"{number:08x}", f"c{number}"
            token = f"pgt_{identity}_{os.urandom(32).hex()}"
            digest = hashlib.sha256(token.encode()).hexdigest()
            known["tokens"].append({"id": identity, "sha256": digest, "kind": "agent", "cluster": cluster})
            self.spare.append((cluster, token))
        with open(self.tokens, "w", encoding="utf-8") as file:
            json.dump(known, file)
        return self

    def start(self):
        self.process.start()
        wait_for(20, self.listens, "the gateway listens")
        self.trust = ssl.create_default_context(cafile=self.ca)
        return self

    def listens(self):
        if not self.process.alive():
            raise RuntimeError("the gateway ended: " + self.process.logged()[-500:])
        return os.path.exists(self.ca) and get(f"https://127.0.0.1:{self.port}", "/health", self.ca)[0] == 200

    def stop(self):
        self.process.kill()
        panics = [line for line in self.process.logged().splitlines() if "panic" in line.lower()]
        if panics:
            raise Mismatch(f"the gateway panicked: {panics[0][:200]}")


async def dial(program, token, protocols=(PROTOCOL,)):
    """Asks for the channel; reader, writer, and the head of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", program.port, ssl=program.trust, limit=1 << 22)
    key = base64.b64encode(os.urandom(16)).decode()
    offered = "".join(f"Sec-WebSocket-Protocol: {name}\r\n" for name in protocols)
    bearer = f"Authorization: Bearer {token}\r\n" if token else ""
    writer.write((f"GET /channel HTTP/1.1\r\nHost: 127.0.0.1:{program.port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                  f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{offered}{bearer}\r\n").encode())
    line, headers = await asyncio.wait_for(head_of(reader), 10)
    return reader, writer, int(line.split(" ")[1]), headers


class GatewayReplay(Replay):
    end, other = "gateway", "agent"

    def __init__(self, session, wire, program, cluster, tamper=None):
        super().__init__(session, wire, tamper)
        self.program, (self.cluster, self.agent_token) = program, cluster
        self.calls, self.asked, self.windows, self.heads, self.replaced = {}, {}, {}, {}, set()
        self.stalled, self.fate = set(), {}
        # A control: a caller is to get other bytes than the agent says.
        self.garbled = self.tamper.pop("played", False)

    # The callers.

    async def act(self, line):
        frame = line["frame"]
        stream = stream_of(frame)
        if frame.get("type") == "open":
            await self.call(frame)
        elif frame.get("type") == "goaway":
            if frame["code"] == "unauthorized":
                self.program.token("remove", self.agent_token.split("_")[1])
            else:
                self.program.process.signal(signal.SIGTERM)
        elif "data" in frame:
            call = self.calls[stream]
            if call.tls and self.fate.get(stream) is None:
                call.data(bytes_of(frame["data"]))
            if frame["data"].get("fin"):
                call.end()
        elif "reset" in frame:
            self.fate[stream] = "cancelled"
            self.calls[stream].abort()

    async def losing(self):
        for stream, call in self.calls.items():
            wanted = self.expected.get(stream, b"")
            await within(5, lambda: call.body == wanted, f"caller {stream} got {len(call.body)} of {len(wanted)} bytes")

    async def again(self, hello, welcome):
        self.windows = {}
        return await shake(self.session, self.program, self.agent_token, hello, welcome)

    async def call(self, frame):
        if frame.get("resume", {}).get("count"):
            # The caller is the one that was there before.
            return
        args, stream = frame["command"]["args"], frame["stream"]
        if frame["command"]["name"] != "k8s.request":
            if frame["command"]["name"] == "channel.echo":
                self.replaced.add(stream)
            down = args.get("mode") != "source"
            args = {"method": "POST" if down else "GET", "path": "/api/v1/namespaces/default/configmaps"}
            args.update({"body": True} if down else {})
        headers = [tuple(pair) for pair in args.get("headers", [])]
        if "traceparent" in frame["command"]:
            headers.append(("traceparent", frame["command"]["traceparent"]))
        self.asked[stream] = args
        path = f"/clusters/{self.cluster}/k8s{args['path']}" + (f"?{args['query']}" if "query" in args else "")
        self.calls[stream] = await Call.send(
            self.program.port, self.program.trust, self.program.user, args["method"], path, headers,
            args.get("body", False), stream in self.session.head.get("unread", []))

    # The lines.

    def stable(self, frame):
        kind = frame.get("type")
        if kind == "open":
            args = dict(frame["command"]["args"]) if frame["command"]["name"] == "k8s.request" else self.asked[frame["stream"]]
            own = {"id": "$any", "name": "k8s.request", "args": args}
            resume = {"resume": {**frame["resume"], "key": "$key"}} if "resume" in frame else {}
            if frame["command"].get("actor"):
                actor = frame["command"]["actor"]
                own["actor"] = {key: actor[key] for key in ("user", "groups") if key in actor}
            if "traceparent" in frame["command"]:
                own["traceparent"] = frame["command"]["traceparent"]
                args["headers"] = [*args.get("headers", []), ["traceparent", own["traceparent"]]]
            return {"type": "open", "stream": frame["stream"], "window": "$open", "command": own, **resume}
        if kind == "goaway":
            return {"type": "goaway", "code": frame["code"], "message": "$any"}
        return frame

    async def expect(self, frame, may):
        # Each window is the gateway's own choice, and counts from here.
        self.captures.known.pop("$open", None)
        await super().expect(frame, may)
        if frame.get("type") == "open":
            self.windows[frame["stream"]] = self.captures.known["$open"]
        if "reset" in frame:
            self.fate.setdefault(frame["reset"]["stream"], "broken")
        if "close" in frame:
            self.lose()

    def lose(self):
        for stream in self.calls:
            self.fate.setdefault(stream, "broken")

    async def quiet(self, stream):
        call = self.calls.get(stream)
        if call and call.chunked and self.fate.get(stream) is None:
            # What is beyond the credit stays with its caller.
            call.data(pattern(4096))
        await super().quiet(stream)

    def stated(self, stream):
        return next((line["frame"]["window"] for line in self.lines
                     if line.get("frame", {}).get("type") == "open" and line["frame"]["stream"] == stream), None)

    async def before(self, line):
        frame = line["frame"]
        stream = stream_of(frame)
        if stream not in self.calls or line.get("dropped") and not self.unread(stream):
            return
        if "data" in frame and stream in self.replaced and not self.heads.get(stream) and notable(frame):
            await self.head(stream)
        if self.unread(stream) and stream not in self.stalled:
            await self.stall(stream)
        waits = any(isinstance(one.get("frame", {}).get("window"), dict) and one["from"] == "gateway"
                    and stream_of(one["frame"]) == stream for one in self.lines)
        if "data" in frame and waits and stream not in self.stalled and not self.unread(stream):
            self.stalled.add(stream)
            more = pattern(max(self.windows[stream] - self.stated(stream), 0))
            self.expected[stream] = more
            for at in range(0, len(more), 16384):
                self.wire.bytes(stream, more[at:at + 16384])
        if frame.get("type") == "end" and "result" in frame and stream in self.replaced and not self.heads.get(stream):
            await self.head(stream)

    def unread(self, stream):
        return stream in self.session.head.get("unread", [])

    async def head(self, stream):
        self.heads[stream] = HEAD["head"]
        self.wire.text({"type": "event", "stream": stream, "event": HEAD})

    async def stall(self, stream):
        """Sends until its caller, who reads nothing, has stopped the gateway. As much credit is left
        as the line of `open` gives; where the gateway's memory is what the session is about, none."""
        self.stalled.add(stream)
        await self.head(stream)
        floor = 0 if "pool" in self.session.head else self.stated(stream)
        left = self.windows[stream] - len(json.dumps(HEAD)) - floor
        seen = self.wire.given.get(stream, 0)
        while True:
            while left > 0:
                size = min(left, 16384)
                self.wire.bytes(stream, pattern(size))
                left -= size
            got = await self.wire.receive(0.4)
            if got is None:
                return
            self.keep(got)
            if got["kind"] == "close" or got["kind"] == "reset" and got["stream"] == stream:
                return
            given = self.wire.given.get(stream, 0)
            left, seen = left + given - seen, given

    async def said(self, line):
        frame = line["frame"]
        if self.garbled and "data" in frame:
            stream = frame["data"]["stream"]
            self.expected[stream] = b"~" + self.expected[stream][1:]
            self.garbled = False
        if "raw_text" in frame:
            frame = parsed(frame)
        stream = stream_of(frame)
        if "close" in frame:
            self.lose()
        if stream not in self.calls or line.get("dropped") or self.fate.get(stream):
            return
        if frame.get("type") == "event" and "head" in frame["event"]:
            self.heads.setdefault(stream, frame["event"]["head"])
            if self.heads[stream]["status"] == 101:
                await within(5, lambda: self.calls[stream].upgraded, "the caller's connection was not upgraded")
        if frame.get("type") == "end":
            self.fate[stream] = "broken" if "error" in frame else "whole"

    # What the callers got.

    async def judge(self):
        closed = any("close" in line.get("frame", {}) for line in self.lines)
        if self.session.head.get("vanishes") or not closed and self.session.name.endswith("peer_vanishes"):
            self.wire.abort()
            self.lose()
        for stream, call in self.calls.items():
            if not self.unread(stream):
                await self.got(stream, call)
        if any(line.get("frame", {}).get("type") == "goaway" and line["from"] == "gateway" and line["frame"]["code"] == "shutting_down"
               for line in self.lines):
            await within(10, lambda: not self.program.process.alive(), "the gateway did not end")
            if self.program.process.child.returncode != 0:
                raise Mismatch(f"the gateway ended with {self.program.process.child.returncode}")

    async def got(self, stream, call):
        fate, head, wanted = self.fate.get(stream), self.heads.get(stream), self.expected.get(stream, b"")
        who = f"caller {stream}"
        if fate == "cancelled":
            if not wanted.startswith(call.body):
                raise Mismatch(f"{who} got other bytes")
            return
        if fate is not None:
            await within(5, lambda: call.over, f"{who}'s answer does not end")
        if fate == "broken" and not call.status and call.over == "broken":
            # The failure overtook the head; a cut answer does not look complete.
            return
        if head is None or fate == "broken" and call.status >= 400 and head["status"] < 400:
            if fate is not None and not (call.over == "whole" and call.status >= 400 and b'"kind":"Status"' in call.body):
                raise Mismatch(f"{who} got {call.status}, {call.over}, {call.body[:80]!r}")
            return
        await within(5, lambda: call.status, f"{who} got no head")
        headers = [[name, value] for name, value in call.headers if name not in ADDED or call.status == 101 and name == "connection"]
        same = sorted(headers) == sorted(head["headers"]) if call.status == 101 else headers == head["headers"]
        if call.status != head["status"] or not same:
            raise Mismatch(f"{who} got {call.status} {headers}")
        if fate == "broken":
            if call.over != "broken" or not wanted.startswith(call.body):
                raise Mismatch(f"{who}'s answer is {call.over} with {len(call.body)} of {len(wanted)} bytes")
            return
        await within(5, lambda: call.body == wanted, f"{who} got {len(call.body)} of {len(wanted)} bytes: {call.body[:60]!r}")
        if fate == "whole" and call.over != "whole":
            raise Mismatch(f"{who}'s answer is {call.over}")
        if fate is None and call.over:
            raise Mismatch(f"{who}'s answer is {call.over} and should go on")


def parsed(frame):
    try:
        message = json.loads(text(frame["raw_text"]))
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def notable(frame):
    """Whether a data frame says something: a head must stand before it."""
    return bytes_of(frame["data"]) or frame["data"].get("fin")


def flags_of(session):
    """What a program of its own is told for this session; None where all share one."""
    flags = []
    if hurried(session, "gateway"):
        flags += ["--ping-every", "400", "--ping-within", "400"]
    if "pool" in session.head:
        flags += ["--pool", str(session.head["pool"])]
    leaves = any(line.get("frame", {}).get("type") == "goaway" and line["from"] == "gateway" and line["frame"]["code"] == "shutting_down"
                 for line in session.lines)
    return tuple(flags) + (("--grace", "20") if leaves else ()) or None


async def shake(session, program, token, hello, welcome):
    reader, writer, status, headers = await dial(program, token)
    if status != 101 or headers.get("sec-websocket-protocol") != PROTOCOL:
        raise Mismatch(f"the channel was answered with {status}")
    wire = Wire(reader, writer, True, "binary" in welcome["features"], session.head.get("scripted_pings", False))
    wire.text(hello)
    got = await wire.receive(5)
    said = dict((got or {}).get("message", {}))
    own = {"session", "ping"} if flags_of(session) else {"session"}
    wanted = {key: value for key, value in welcome.items() if key not in own}
    if {key: said.get(key) for key in wanted} != wanted:
        raise Mismatch(f"{got} came instead of welcome")
    return wire


async def replay(program, session, tamper=None):
    own = flags_of(session)
    if own:
        program = await asyncio.to_thread(lambda: Program(*own).prepare(1).start())
    cluster = program.spare.pop()
    wire = run = None
    try:
        wire = await shake(session, program, cluster[1], *(line["frame"] for line in session.lines[:2]))
        run = GatewayReplay(session, wire, program, cluster, tamper)
        await run.run()
    finally:
        for call in run.calls.values() if run else ():
            call.abort()
        if wire:
            (run.wire if run else wire).end()
        if own:
            program.stop()
