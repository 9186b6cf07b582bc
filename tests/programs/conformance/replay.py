"""Goes through the lines of one session.

Owns what fixtures/README.md says of lines: order, waiting, what may come in between. What brings a
line of the tested end about is `act`, and what its outside shows is `judge`, which each program's
own replay gives.
"""
import asyncio

import notation
from notation import Mismatch, bytes_of, stream_of

# How long a line of the tested end is waited for.
WAIT = 20
# Messages that may come at any time.
ASIDE = ("heartbeat", "ping", "pong")


class Replay:
    end = other = ""

    def __init__(self, session, wire, tamper=None):
        # A control changes what is compared at a line, and nothing else.
        self.session, self.wire, self.tamper = session, wire, dict(tamper or {})
        self.lines, self.captures = session.lines, notation.Captures()
        self.expected = {}

    async def act(self, line):
        """Brings a line of the tested end about."""

    async def said(self, line):
        """A line of the played end has been sent."""

    async def before(self, line):
        """A line of the played end is about to be sent."""

    async def judge(self):
        """What the program's outside must show at the end."""

    async def losing(self):
        """The channel is about to be lost: what was said before must have been taken."""

    async def again(self, hello, welcome):
        """A new session of the same program after the channel was lost; its wire."""
        raise Mismatch("this end has no second session")

    def stable(self, frame):
        """The line without what is a program's own choice."""
        return frame

    def aside(self, message):
        """Whether this message may come although no line expects it."""
        return message["type"] in ASIDE

    async def run(self):
        shaken = 2
        for number, line in enumerate(self.lines):
            if number < shaken:
                continue
            try:
                if line.get("lost"):
                    # The handshake of the next session stands in the two lines that follow.
                    hello, welcome = (self.lines[number + place]["frame"] for place in (1, 2))
                    await self.losing()
                    self.wire.end()
                    self.wire, shaken = await self.again(hello, welcome), number + 3
                else:
                    await self.line(number, line)
            except Mismatch as error:
                shown = str(line.get("frame", line))
                raise Mismatch(f"line {number + 2}: {error} ({shown[:120]})") from None
        await self.finish()

    async def line(self, number, line):
        if "quiet" in line:
            return await self.quiet(line["stream"])
        if line["from"] == self.end:
            if not line.get("own"):
                await self.act({**line, "frame": self.captures.fill(line["frame"])})
            frame = self.tamper.get(number, lambda frame: frame)(line["frame"])
            return await self.expect(frame, line.get("may", False))
        await self.before(line)
        frame = self.captures.fill(line["frame"])
        for count in range(line.get("times", 1)):
            if self.wire.writer.transport.is_closing():
                break
            await self.wire.say(frame)
            if count % 16 == 15:
                # What the tested end says meanwhile must be read before it can be lost with the link.
                await self.wire.drain()
                await asyncio.sleep(0)
        await self.wire.drain()
        if "data" in frame and not line.get("dropped"):
            stream = frame["data"]["stream"]
            self.expected[stream] = self.expected.get(stream, b"") + bytes_of(frame["data"])
        await self.said({**line, "frame": frame})

    async def quiet(self, stream):
        loop = asyncio.get_running_loop()
        until = loop.time() + 1
        while (left := until - loop.time()) > 0:
            got = await self.wire.receive(left)
            if got is None:
                return
            if got["kind"] == "close" or got["stream"] == stream and got["kind"] != "window":
                raise Mismatch(f"not quiet: {shorten(got)}")
            self.keep(got)

    def keep(self, got):
        if got["kind"] == "text" and self.aside(got["message"]):
            # A line may still be about it.
            got["aside"] = True
        if got["kind"] != "window":
            self.wire.kept.append(got)

    async def next(self, stream, frame):
        for place, got in enumerate(self.wire.kept):
            if relevant(got, stream, frame):
                return self.wire.kept.pop(place)
        while True:
            got = await self.wire.receive(WAIT)
            if got is None or relevant(got, stream, frame):
                return got
            self.keep(got)

    async def expect(self, frame, may):
        frame, stream = self.stable(frame), stream_of(frame)
        if isinstance(frame.get("window"), dict):
            return await self.expect_credit(frame["window"], may)
        if "data" in frame:
            return await self.expect_data(frame["data"])
        while True:
            got = await self.next(stream, frame)
            if got is None:
                if may:
                    return
                raise Mismatch("nothing came")
            if got["kind"] == "close":
                if "close" in frame and got["close"] == frame["close"]:
                    return
                if may:
                    return
                raise Mismatch(f"closed with {got['close']} {got['cut']}")
            if got["kind"] == "data" and not got["bytes"]:
                # FIN in a frame of its own, which no line needs to name.
                continue
            if got["kind"] == "text" and self.captures.matches(frame, got["message"]):
                return
            if got["kind"] == "reset" and self.captures.matches(frame, {"reset": got["reset"]}):
                return
            raise Mismatch(f"{shorten(got)} came instead")

    async def expect_data(self, data):
        stream, wanted, fin = data["stream"], bytes_of(data), data.get("fin", False)
        got, finished = b"", False
        while len(got) < len(wanted) or fin and not finished:
            one = await self.next(stream, {})
            if one is None:
                raise Mismatch(f"{len(got)} of {len(wanted)} bytes came")
            if one["kind"] != "data":
                raise Mismatch(f"{shorten(one)} came instead")
            more = len(wanted) - len(got)
            if len(one["bytes"]) > more:
                rest = {**one, "bytes": one["bytes"][more:]}
                self.wire.kept.insert(0, rest)
                got += one["bytes"][:more]
                if more == 0:
                    break
            else:
                got += one["bytes"]
                finished |= one["fin"]
        if got != wanted:
            raise Mismatch(f"other bytes: {got[:40]!r}")

    async def expect_credit(self, window, may):
        stream, wanted = window["stream"], window["bytes"]
        while self.wire.fresh.get(stream, 0) < wanted:
            got = await self.wire.receive(WAIT)
            if got is None:
                if may:
                    return
                raise Mismatch(f"{self.wire.fresh.get(stream, 0)} of {wanted} bytes of credit came")
            if got["kind"] == "close":
                raise Mismatch(f"closed with {got['close']}")
            self.keep(got)
        self.wire.fresh[stream] = 0

    async def finish(self):
        """A moment for what is on its way; anything that no line expects is a failure."""
        while (got := await self.wire.receive(0.05)) and got["kind"] != "close":
            self.keep(got)
        for got in self.wire.kept:
            empty = got["kind"] == "data" and not got["bytes"]
            if got["kind"] != "close" and not empty and not got.get("aside"):
                raise Mismatch(f"no line expects {shorten(got)}")
        await self.judge()


def relevant(got, stream, frame):
    """Whether a line about `frame` has to do with what came. The end of the link ends every wait."""
    if got["kind"] == "window":
        return False
    if got["kind"] == "close":
        return True
    if got["kind"] == "text" and got["stream"] is None:
        return stream is None and got["message"]["type"] == frame.get("type")
    return got["stream"] == stream


def shorten(got):
    return str(got.get("message") or {key: value for key, value in got.items() if key != "stream"})[:160]


async def within(seconds, act, what):
    """Polls until `act` gives something true."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while not (found := act()):
        if loop.time() > until:
            raise Mismatch(what)
        await asyncio.sleep(0.005)
    return found
