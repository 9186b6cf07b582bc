"""A caller of the gateway: one HTTP/1.1 request over TLS, piece by piece.

Owns the request as it goes out and the answer as it comes in. Its TLS can close one direction, which
asyncio's own cannot; it can stop reading, and hang up.
"""
import asyncio
import socket
import ssl


class Tls:
    """TLS over a plain connection, with a half-close."""

    def __init__(self, reader, writer, context, name):
        self.reader, self.writer = reader, writer
        self.came, self.goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.came, self.goes, server_hostname=name)

    @classmethod
    async def connect(cls, port, context, kernel=None):
        plain = socket.socket()
        if kernel:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, kernel)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=plain, limit=1 << 14)
        self = cls(reader, writer, context, "127.0.0.1")
        while True:
            try:
                self.tls.do_handshake()
                self.flush()
                return self
            except ssl.SSLWantReadError:
                self.flush()
                await self.fill()

    def flush(self):
        if self.goes.pending:
            self.writer.write(self.goes.read())

    async def fill(self):
        piece = await self.reader.read(1 << 14)
        if piece:
            self.came.write(piece)
        else:
            self.came.write_eof()

    def write(self, payload):
        self.tls.write(payload)
        self.flush()

    def write_eof(self):
        try:
            self.tls.unwrap()
        except ssl.SSLError:
            # The other half stays open: its close_notify is yet to come.
            pass
        self.flush()

    async def read(self):
        """Some bytes; none after the other side's close_notify. OSError when it broke off."""
        while True:
            try:
                return self.tls.read(1 << 16)
            except ssl.SSLWantReadError:
                self.flush()
                await self.fill()
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLError as error:
                raise ConnectionError("no close_notify") from error


class Call:
    """One request and its answer: `status` and `headers`, `body`, and `over`: whole or broken."""

    def __init__(self, tls, unread):
        self.tls, self.unread = tls, unread
        self.status, self.headers, self.body, self.over = 0, [], b"", ""
        self.chunked, self.upgraded, self.buffer = False, False, b""
        self.task = None

    @classmethod
    async def send(cls, port, context, token, method, path, headers, body=False, unread=False):
        self = cls(await Tls.connect(port, context, 4096 if unread else None), unread)
        lines = [f"{method} {path} HTTP/1.1", f"host: 127.0.0.1:{port}", f"authorization: Bearer {token}",
                 *(f"{name}: {value}" for name, value in headers)]
        self.chunked = body
        lines += ["transfer-encoding: chunked"] if body else []
        self.tls.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        self.task = asyncio.create_task(self.hear())
        return self

    def data(self, payload):
        if payload:
            self.tls.write(b"%x\r\n%s\r\n" % (len(payload), payload) if self.chunked else payload)

    def end(self):
        if self.chunked:
            self.tls.write(b"0\r\n\r\n")
        elif self.upgraded:
            self.tls.write_eof()

    def abort(self):
        self.over = self.over or "hung up"
        if self.task:
            self.task.cancel()
        self.tls.writer.transport.abort()

    async def hear(self):
        try:
            head = (await self.until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            self.headers = [(name.lower(), value) for name, value in (line.split(": ", 1) for line in head[1:] if line)]
            self.upgraded = " 101 " in head[0]
            self.status = int(head[0].split(" ")[1])
            if self.unread:
                return
            if self.upgraded:
                self.body += self.buffer
                while piece := await self.tls.read():
                    self.body += piece
            elif ("transfer-encoding", "chunked") in self.headers:
                while size := int((await self.until(b"\r\n")).split(b";")[0], 16):
                    await self.take(size)
                    await self.until(b"\r\n")
                await self.until(b"\r\n")
            else:
                await self.take(int(dict(self.headers).get("content-length", 0)))
            self.over = "whole"
        except (OSError, ValueError):
            self.over = "broken"

    async def more(self):
        piece = await self.tls.read()
        if not piece:
            raise ConnectionError("the answer ended early")
        self.buffer += piece

    async def until(self, mark):
        while mark not in self.buffer:
            await self.more()
        found, self.buffer = self.buffer.split(mark, 1)
        return found

    async def take(self, size):
        while size:
            if not self.buffer:
                await self.more()
            piece, self.buffer = self.buffer[:size], self.buffer[size:]
            self.body += piece
            size -= len(piece)
