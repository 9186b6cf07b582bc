"""A peer that may say anything: WebSocket by hand, as the gateway or as an agent, over real TLS.

Owns messages and the handshake of the protocol. What is said after it is the check's.
"""
import asyncio
import base64
import hashlib
import json
import os
import ssl
import struct

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
PROTOCOL = "pipeops.agent.v2"


class Left(Exception):
    """The other end has left: its `goaway` code if it said one, the close code, or nothing."""

    def __init__(self, code=None, close=None):
        super().__init__(f"goaway {code}, close {close}")
        self.code, self.close = code, close


class Peer:
    """One WebSocket after its upgrade. `masked` is the side of the client."""

    def __init__(self, reader, writer, masked):
        self.reader, self.writer, self.masked = reader, writer, masked
        self.goaway = None

    def send(self, opcode, payload):
        """One message; nothing is waited for."""
        size = len(payload)
        head = bytes([0x80 | opcode])
        mask = 0x80 if self.masked else 0
        if size < 126:
            head += bytes([mask | size])
        elif size < 1 << 16:
            head += bytes([mask | 126]) + struct.pack(">H", size)
        else:
            head += bytes([mask | 127]) + struct.pack(">Q", size)
        # A mask of zeros leaves the payload as it is.
        self.writer.write(head + (b"\0\0\0\0" if self.masked else b"") + payload)

    def text(self, message):
        self.send(1, message.encode() if isinstance(message, str) else json.dumps(message).encode())

    def binary(self, payload):
        self.send(2, payload)

    def data(self, stream, payload, fin=False):
        self.binary(struct.pack(">BBHI", 1, int(fin), 0, stream) + payload)

    def window(self, stream, size):
        self.binary(struct.pack(">BBHII", 2, 0, 0, stream, size))

    def reset(self, stream, code=1):
        self.binary(struct.pack(">BBHI", 3, 0, code, stream))

    async def drain(self):
        """Waits until the kernel has taken what was said; a peer that has left is no error here."""
        try:
            await self.writer.drain()
        except (OSError, ssl.SSLError):
            pass

    async def hear(self):
        """The next message: a dict or bytes. Pings are echoed on the way; `Left` at the end."""
        while True:
            try:
                first, second = await self.reader.readexactly(2)
                size = second & 0x7F
                if size == 126:
                    size, = struct.unpack(">H", await self.reader.readexactly(2))
                elif size == 127:
                    size, = struct.unpack(">Q", await self.reader.readexactly(8))
                mask = await self.reader.readexactly(4) if second & 0x80 else None
                payload = await self.reader.readexactly(size)
            except (asyncio.IncompleteReadError, OSError, ssl.SSLError) as error:
                raise Left(self.goaway) from error
            if mask:
                stream = (mask * (size // 4 + 1))[:size]
                payload = (int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")).to_bytes(size, "big")
            opcode = first & 0xF
            if opcode == 8:
                raise Left(self.goaway, struct.unpack(">H", payload[:2])[0] if size >= 2 else None)
            if opcode == 2:
                return payload
            if opcode == 1:
                message = json.loads(payload)
                if message["type"] == "ping":
                    self.text({"type": "pong", "nonce": message["nonce"]})
                elif message["type"] == "goaway":
                    self.goaway = message["code"]
                else:
                    return message

    async def end_of(self, stream):
        """The code with which the other end gives up this stream; '' for a good end."""
        while True:
            message = await self.hear()
            if isinstance(message, bytes):
                kind, _, code, number = struct.unpack(">BBHI", message[:8])
                if kind == 3 and number == stream:
                    return code
            elif message["type"] == "end" and message["stream"] == stream:
                return (message.get("error") or {}).get("code", "")

    async def left(self):
        """How the other end leaves."""
        while True:
            try:
                await self.hear()
            except Left as left:
                return left

    def abort(self):
        self.writer.transport.abort()


async def head_of(reader):
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    return lines[0], {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:] if line)}


async def agent(port, ca, token, instance, **more):
    """Dials a gateway and shakes hands; the peer, and what came instead of `welcome` if it did."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=ssl.create_default_context(cafile=ca), limit=1 << 22)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write((f"GET /channel HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                  f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {PROTOCOL}\r\n"
                  f"Authorization: Bearer {token}\r\n\r\n").encode())
    line, _ = await head_of(reader)
    if " 101 " not in line:
        raise Left(line)
    peer = Peer(reader, writer, masked=True)
    peer.text({"type": "hello", "agent": {"id": "c-evil", "instance": instance, "epoch": 1, "version": "0.1.0"},
               "cluster": {"name": "evil", "uid": "uid-evil"}, "features": ["binary", "zstd"],
               "window": 262144, "max_streams": 10240, **more})
    welcome = await peer.hear()
    if welcome["type"] != "welcome":
        raise Left(welcome.get("code"))
    peer.text({"type": "report", "seq": 1, "ready": True, "api_server": True, "cluster_uid": "uid-evil",
               "kubernetes": "v1.36.0", "access": "admin", "commands": ["k8s.request", "channel.echo"]})
    while (await peer.hear())["type"] != "ack":
        pass
    return peer


class Gateway:
    """Listens for one agent; each session that it brings can be taken once."""

    def __init__(self):
        self.sessions, self.server, self.port = asyncio.Queue(), None, 0
        self.welcome = {"type": "welcome", "session": "s-1", "features": ["binary"], "heartbeat_ms": 30000,
                        "ping": {"every_ms": 15000, "within_ms": 10000},
                        "reconnect": {"first_ms": 10, "cap_ms": 50}, "role": "primary"}

    async def start(self, chain, key, port=0):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", port, ssl=context, limit=1 << 22)
        self.port = self.server.sockets[0].getsockname()[1]

    async def serve(self, reader, writer):
        try:
            line, headers = await head_of(reader)
            if line.startswith("POST /register"):
                await reader.readexactly(int(headers["content-length"]))
                body = json.dumps({"cluster_id": "it", "channels": ["/channel"], "reconnect": self.welcome["reconnect"]})
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
                             f"Connection: close\r\n\r\n{body}".encode())
                await writer.drain()
                writer.close()
                return
            accept = base64.b64encode(hashlib.sha1(headers["sec-websocket-key"].encode() + GUID).digest()).decode()
            writer.write((f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          f"Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {PROTOCOL}\r\n\r\n").encode())
            peer = Peer(reader, writer, masked=False)
            await peer.hear()
            peer.text(self.welcome)
            while (report := await peer.hear())["type"] != "report":
                pass
            peer.text({"type": "ack", "report": report["seq"]})
            await self.sessions.put(peer)
        except (Left, OSError, asyncio.IncompleteReadError):
            writer.transport.abort()

    async def session(self, seconds=20):
        """The newest session of the agent's."""
        while True:
            peer = await asyncio.wait_for(self.sessions.get(), seconds)
            if self.sessions.empty() and not peer.writer.transport.is_closing():
                return peer
