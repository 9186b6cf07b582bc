"""The played end of the channel: frames out as lines say, and what comes in, understood.

Owns one WebSocket after its upgrade: both forms of stream bytes, pings that no line scripts, and
what came before the line that is about it. It judges only what no line needs to say: the form that
the features ask for (P-35).
"""
import asyncio
import base64
import json
import ssl
import struct

import notation
import zstd
from notation import Mismatch
from peer import Peer


class Wire(Peer):
    def __init__(self, reader, writer, masked, binary=True, scripted=False):
        super().__init__(reader, writer, masked)
        self.framed, self.scripted = binary, scripted
        self.packers, self.unpackers = {}, {}
        self.inbox, self.kept = asyncio.Queue(), []
        # Credit that the tested end gave: in all, and since a line asked for it.
        self.given, self.fresh = {}, {}
        self.wrong = None
        self.pump = asyncio.create_task(self._pump())

    # Out.

    async def say(self, frame):
        if "close" in frame:
            self.send(8, struct.pack(">H", frame["close"]))
        elif "open_and_reset" in frame:
            flood = frame["open_and_reset"]
            command = {"id": "flood", "name": "channel.echo", "args": {"mode": "echo"}}
            for stream in range(flood["first"], flood["first"] + flood["count"]):
                if stream % 16 == 0:
                    await self.drain()
                    await asyncio.sleep(0)
                if self.writer.transport.is_closing():
                    return
                self.text({"type": "open", "stream": stream, "window": 16384, "class": "api", "command": command})
                self.reset(stream)
        elif "type" in frame:
            # Without blanks: offsets count an event as it is written (P-76).
            self.text(json.dumps(frame, separators=(",", ":")))
        elif "raw_text" in frame:
            self.text(notation.text(frame["raw_text"]))
        elif "raw_hex" in frame:
            self.binary(notation.raw(frame["raw_hex"]))
        elif "data" in frame:
            data = frame["data"]
            self.bytes(data["stream"], notation.bytes_of(data), data.get("fin", False), data.get("zstd", False))
        elif "window" in frame:
            stream, size = frame["window"]["stream"], frame["window"]["bytes"]
            if self.framed:
                self.window(stream, size)
            else:
                self.text({"type": "credit", "stream": stream, "bytes": size})
        elif "reset" in frame:
            stream, code = frame["reset"]["stream"], frame["reset"]["code"]
            if self.framed:
                self.reset(stream, notation.CODES.index(code))
            else:
                self.text({"type": "cancel", "stream": stream, "code": code})
        else:
            raise ValueError(f"no frame: {frame}")

    def bytes(self, stream, payload, fin=False, packed=False):
        if packed:
            payload = self.packers.setdefault(stream, zstd.Compressor()).frame(payload)
        if self.framed:
            self.send(2, struct.pack(">BBHI", 1, int(fin) | int(packed) << 1, 0, stream) + payload)
        else:
            self.text({"type": "data", "stream": stream, "data": base64.b64encode(payload).decode(), "fin": fin, "zstd": packed})

    # In.

    async def _pump(self):
        close, cut = None, ""
        try:
            while True:
                opcode, payload = await self._message()
                if opcode == 8:
                    close = struct.unpack(">H", payload[:2])[0] if len(payload) >= 2 else 1005
                    self.send(8, payload[:2])
                    break
                if opcode == 9:
                    self.send(10, payload)
                elif opcode in (1, 2):
                    got = self._understand(opcode, payload)
                    if got:
                        self.inbox.put_nowait(got)
        except (asyncio.IncompleteReadError, OSError, ssl.SSLError) as error:
            cut = repr(error)
        except (ValueError, KeyError, IndexError, struct.error, Mismatch) as error:
            self.wrong = f"what came is no message: {error!r}"
        self.inbox.put_nowait({"kind": "close", "close": close, "cut": cut, "stream": None})

    async def _message(self):
        opcode, whole = None, b""
        while True:
            first, second = await self.reader.readexactly(2)
            size = second & 0x7F
            if size >= 126:
                size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
            mask = await self.reader.readexactly(4) if second & 0x80 else None
            if bool(mask) == self.masked:
                raise Mismatch("the masking of the other side")
            payload = await self.reader.readexactly(size)
            if mask:
                stream = (mask * (size // 4 + 1))[:size]
                payload = (int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")).to_bytes(size, "big")
            if first & 0xF >= 8:
                return first & 0xF, payload
            opcode, whole = opcode or first & 0xF, whole + payload
            if first & 0x80:
                return opcode, whole

    def _understand(self, opcode, payload):
        if opcode == 2:
            if not self.framed:
                raise Mismatch("a binary message without the feature")
            kind, flags, code, stream = struct.unpack(">BBHI", payload[:8])
            if kind == 1 and code == 0 and flags < 4:
                return self._data(stream, payload[8:], flags & 1, flags & 2)
            if kind == 2 and len(payload) == 12 and flags == code == 0:
                return {"kind": "window", "stream": stream, "bytes": struct.unpack(">I", payload[8:])[0]}
            if kind == 3 and len(payload) == 8 and flags == 0:
                return {"kind": "reset", "stream": stream, "reset": {"stream": stream, "code": notation.CODES[code]}}
            raise Mismatch(f"frame {payload[:16].hex()}")
        message = json.loads(payload.decode())
        kind, stream = message["type"], message.get("stream")
        if kind in ("data", "credit", "cancel") and self.framed:
            raise Mismatch(f"the JSON form {kind} where binary is in force")
        if kind == "data":
            return self._data(stream, base64.b64decode(message["data"], validate=True), message.get("fin"), message.get("zstd"))
        if kind == "credit":
            return {"kind": "window", "stream": stream, "bytes": message["bytes"]}
        if kind == "cancel":
            return {"kind": "reset", "stream": stream, "reset": {"stream": stream, "code": message["code"]}}
        if not self.scripted and kind in ("ping", "pong"):
            if kind == "ping":
                self.text({"type": "pong", "nonce": message["nonce"]})
            return None
        return {"kind": "text", "stream": stream, "message": message}

    def _data(self, stream, payload, fin, packed):
        if packed:
            payload = self.unpackers.setdefault(stream, zstd.Restorer()).frame(payload)
        return {"kind": "data", "stream": stream, "bytes": payload, "fin": bool(fin), "zstd": bool(packed)}

    async def receive(self, seconds):
        """The next thing; credit is counted on the way. None when nothing comes in time."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            left = deadline - asyncio.get_running_loop().time()
            try:
                got = await asyncio.wait_for(self.inbox.get(), max(left, 0.001))
            except asyncio.TimeoutError:
                return None
            if got["kind"] == "window":
                for count in (self.given, self.fresh):
                    count[got["stream"]] = count.get(got["stream"], 0) + got["bytes"]
            if got["kind"] == "close":
                # It stays what there is to receive.
                self.inbox.put_nowait(got)
                if self.wrong:
                    raise Mismatch(self.wrong)
            return got

    def end(self):
        self.pump.cancel()
        self.abort()
