"""A caller: HTTP/1.1 over TLS on asyncio, one connection at a time, bodies as they come."""
import asyncio
import socket
import ssl
from urllib.parse import urlsplit


class Broken(Exception):
    """The answer broke off."""


class Origin:
    """Where a caller goes: a base URL, its trust and its token."""

    def __init__(self, url, ca, token):
        self.parts, self.token = urlsplit(url), token
        self.trust = ssl.create_default_context(cafile=ca)

    async def open(self, limit=1 << 20, kernel=None):
        """`kernel`: bytes that the kernel may keep for this caller; its own choice is megabytes."""
        plain = socket.socket()
        if kernel:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, kernel)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, (self.parts.hostname, self.parts.port))
        reader, writer = await asyncio.open_connection(
            sock=plain, ssl=self.trust, server_hostname=self.parts.hostname, limit=limit)
        return Caller(self, reader, writer)

    async def get(self, path, headers=()):
        caller = await self.open()
        try:
            return await caller.get(path, headers)
        finally:
            caller.abort()


class Caller:
    """One connection."""

    def __init__(self, origin, reader, writer):
        self.origin, self.reader, self.writer = origin, reader, writer
        self.status, self.headers = 0, []

    def abort(self):
        self.writer.transport.abort()

    async def send(self, method, path, headers=(), body=b""):
        """Sends a request and reads the answer's head."""
        parts = self.origin.parts
        lines = [f"{method} {parts.path}{path} HTTP/1.1", f"Host: {parts.netloc}",
                 f"Authorization: Bearer {self.origin.token}", *(f"{name}: {value}" for name, value in headers)]
        if body or method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {len(body)}")
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self.status = int(head[0].split(" ")[1])
        self.headers = [tuple(line.split(": ", 1)) for line in head[1:] if line]
        return self.status

    def header(self, name):
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    async def pieces(self):
        """The body as it comes; `Broken` when it ends too early."""
        try:
            if (self.header("transfer-encoding") or "").lower() == "chunked":
                while size := int((await self.reader.readline()).split(b";")[0] or b"x", 16):
                    while size:
                        piece = await self.reader.read(min(size, 1 << 18))
                        if not piece:
                            raise Broken("in a chunk")
                        size -= len(piece)
                        yield piece
                    await self.reader.readexactly(2)
                await self.reader.readexactly(2)
            else:
                size = int(self.header("content-length") or 0)
                while size:
                    piece = await self.reader.read(min(size, 1 << 18))
                    if not piece:
                        raise Broken("before its length")
                    size -= len(piece)
                    yield piece
        except (ValueError, OSError, asyncio.IncompleteReadError) as error:
            raise Broken(repr(error)) from error

    async def body(self):
        return b"".join([piece async for piece in self.pieces()])

    async def lines(self):
        """The body's lines, as a watch sends them."""
        rest = b""
        async for piece in self.pieces():
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                yield line

    async def get(self, path, headers=()):
        status = await self.send("GET", path, headers)
        return status, await self.body()
