"""The handshakes of fixtures/handshakes/v2 against the programs.

Owns what fixtures/README.md says of their lines: requests and answers of HTTP, the first messages of
the channel, its end, and how long an agent stays away.
"""
import asyncio
import json
import time

import agent
import gateway
import notation
from notation import Mismatch
from replay import within
from wire import Wire

# How much longer than a wait's most a program on a busy machine may take.
SLACK = 2


def all_of(end):
    return [fixture for fixture in map(read, notation.folder("handshakes", "v2", "*.json")) if end in fixture]


def read(path):
    fixture = notation.load(path)
    return notation.Session(notation.name_of(path), fixture, fixture["lines"])


def fits(captures, line, got, what):
    if not captures.matches(line, got):
        raise Mismatch(f"{what}: {str(got)[:200]}")


class AgentHandshake:
    """The agent is tested; its gateway is played."""

    def __init__(self, bench, session):
        self.session, self.captures = session, notation.Captures()
        hello = next((line["frame"] for line in session.lines if line.get("frame", {}).get("type") == "hello"), None)
        hello = hello or {"agent": {"id": "c-5f0c"}, "cluster": {"name": "prod-eu", "uid": "6f1c3a52-0b7e-4a58-9a30-000000000001"}, "features": ["binary", "zstd"]}
        flags = [] if "binary" in hello["features"] else ["--no-binary"]
        if any(line.get("gives_up") for line in session.lines):
            flags.append("--exit-when-refused")
        self.around = agent.Surroundings(bench, hello, *flags)
        self.asked = self.wire = None
        self.since = time.monotonic()

    async def run(self):
        await self.around.start()
        try:
            for number, line in enumerate(self.session.lines, 1):
                try:
                    await self.line(line)
                except Mismatch as error:
                    raise Mismatch(f"line {number}: {error}") from None
        finally:
            if self.wire:
                self.wire.end()
            self.around.stop()

    async def line(self, line):
        if line["from"] == "gateway":
            await self.answer(line)
            self.since = time.monotonic()
        elif "request" in line:
            await self.request(line)
        elif "frame" in line:
            await self.frame(line)
        elif line.get("closed"):
            await self.closed()
        elif line.get("gives_up"):
            process = self.around.process
            await within(5, lambda: not process.alive(), "the agent does not end")
            if process.child.returncode != 3:
                raise Mismatch(f"the agent ended with {process.child.returncode}")
        elif "away_ms" in line:
            await self.away(line["away_ms"])

    async def request(self, line):
        wanted, after = line["request"], line.get("after_ms", [0, 15000])
        self.asked = await self.around.gateway.asked(after[1] / 1000 + SLACK)
        waited = (time.monotonic() - self.since) * 1000
        # Less than the least by a clock's grain is no breach.
        if waited < after[0] - 20:
            raise Mismatch(f"the agent came back after {waited:.0f} ms")
        got = {"method": self.asked.method, "path": self.asked.path,
               "headers": {name: self.asked.headers.get(name) for name in wanted.get("headers", {})}}
        if "body" in wanted:
            try:
                got["body"] = json.loads(self.asked.body)
            except ValueError:
                raise Mismatch("a body that is no JSON") from None
        fits(self.captures, wanted, got, "another request")

    async def frame(self, line):
        if "close" in line["frame"]:
            got = await self.wire.receive(10)
            if not got or got.get("close") != line["frame"]["close"]:
                raise Mismatch(f"{got} came instead of the close")
            return
        if self.wire is None:
            self.wire = Wire(self.asked.reader, self.asked.writer, False)
        got = await self.wire.receive(10)
        frame = {**line["frame"]}
        if frame["type"] == "hello":
            offered = set((got or {}).get("message", {}).get("features", []))
            if not set(frame["features"]) <= offered:
                raise Mismatch(f"hello offers {offered}")
            frame.update(window="$any", max_streams="$any", features="$any")
        if line.get("may") and got and got["kind"] == "close":
            return
        fits(self.captures, frame, (got or {}).get("message"), "another message")

    async def closed(self):
        """The agent closes the connection and says nothing on it."""
        try:
            rest = await asyncio.wait_for(self.asked.reader.read(1 << 16), 10)
        except asyncio.TimeoutError:
            raise Mismatch("the connection stays open") from None
        except OSError:
            return
        if rest and rest[0] & 0xF != 8:
            raise Mismatch(f"the agent says {rest[:40]!r}")

    async def away(self, ms):
        try:
            asked = await asyncio.wait_for(self.around.gateway.requests.get(), ms / 1000)
        except asyncio.TimeoutError:
            if not self.around.process.alive():
                raise Mismatch("the agent has ended") from None
            return
        raise Mismatch(f"the agent asked for {asked.path}")

    async def answer(self, line):
        if "frame" in line:
            return await self.say(line["frame"])
        answer = line["answer"]
        headers = list(answer.get("headers", {}).items())
        if answer["status"] == 101:
            self.asked.upgrade([value for name, value in headers if name == "sec-websocket-protocol"])
            self.wire = None
        else:
            self.asked.answer(answer["status"], headers, answer.get("body"))

    async def say(self, frame):
        await self.wire.say(frame)
        await self.wire.drain()
        if frame.get("type") == "welcome":
            self.wire.framed = "binary" in frame["features"]


class GatewayHandshake:
    """The gateway is tested; an agent is played."""

    def __init__(self, program, session):
        self.program, self.session, self.captures = program, session, notation.Captures()
        self.cluster = program.spare.pop()
        self.wire = self.answered = None

    async def run(self):
        try:
            for number, line in enumerate(self.session.lines, 1):
                try:
                    await self.line(line)
                except Mismatch as error:
                    raise Mismatch(f"line {number}: {error}") from None
        finally:
            if self.wire:
                self.wire.end()

    async def line(self, line):
        if "request" in line:
            wanted = line["request"]
            headers = wanted.get("headers", {})
            token = self.cluster[1] if headers.get("authorization") == "Bearer $token" else None
            names = [headers[name] for name in ("sec-websocket-protocol",) if name in headers]
            reader, writer, status, got = await gateway.dial(self.program, token, names)
            self.answered = (status, got, reader)
            if status == 101:
                self.wire = Wire(reader, writer, True)
        elif "answer" in line:
            status, headers, reader = self.answered
            if status != line["answer"]["status"]:
                raise Mismatch(f"the answer is {status}")
            for name, value in line["answer"].get("headers", {}).items():
                fits(self.captures, value, headers.get(name), name)
            if "body" in line["answer"]:
                body = await asyncio.wait_for(reader.readexactly(int(headers["content-length"])), 5)
                fits(self.captures, line["answer"]["body"], json.loads(body), "another body")
        elif line["from"] == "agent":
            await self.wire.say(line["frame"])
            await self.wire.drain()
        else:
            got = await self.wire.receive(15)
            frame = line["frame"]
            if "close" in frame:
                if not got or got.get("close") != frame["close"]:
                    raise Mismatch(f"{got} came instead of the close")
            elif not (line.get("may") and got and got["kind"] == "close"):
                fits(self.captures, frame, (got or {}).get("message"), "another message")
