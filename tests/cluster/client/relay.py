"""Carries the connections of an agent to its gateway, until they are cut.

Owns a thread with a loop of its own. A cut is an RST to both ends: what is in the sockets is lost,
wherever in a message that is.
"""
import asyncio
import socket
import struct
import threading


class Relay:
    def __init__(self, port):
        self.to, self.port = port, None
        self.carried, self.loop = set(), asyncio.new_event_loop()
        ready = threading.Event()
        threading.Thread(target=self._run, args=(ready,), daemon=True).start()
        ready.wait(10)

    def _run(self, ready):
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(asyncio.start_server(self._carry, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        self.loop.run_forever()

    async def _carry(self, near_reader, near):
        try:
            far_reader, far = await asyncio.open_connection("127.0.0.1", self.to)
        except OSError:
            near.close()
            return
        both = (near, far)
        self.carried.add(both)
        try:
            await asyncio.gather(self._pump(near_reader, far), self._pump(far_reader, near))
        finally:
            self.carried.discard(both)

    async def _pump(self, reader, writer):
        try:
            while piece := await reader.read(16 * 1024):
                writer.write(piece)
                await writer.drain()
            writer.close()
        except OSError:
            writer.transport.abort()

    def cut(self):
        """Says how many connections were cut."""
        return asyncio.run_coroutine_threadsafe(self._cut(), self.loop).result(10)

    async def _cut(self):
        cut = list(self.carried)
        for writer in (one for both in cut for one in both):
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        return len(cut)
