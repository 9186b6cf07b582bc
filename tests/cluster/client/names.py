"""A name server of one zone for pods: a thread that answers A questions out of a table.

Owns only as much of RFC 1035 as a stub resolver needs: one question, an A record, an empty answer
for any other type of a known name, and NXDOMAIN for the rest.
"""
import socket
import struct
import threading


class Names:
    """Serves `table` (name to IPv4 address) on UDP port 53 of `address`."""

    def __init__(self, address, table):
        self.table, self.asked = {name.lower(): value for name, value in table.items()}, []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 53))
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                query, peer = self.socket.recvfrom(512)
                self.socket.sendto(self.answer(query), peer)
            except OSError:
                return
            except (IndexError, struct.error, UnicodeDecodeError):
                continue

    def answer(self, query):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode("ascii"))
            at += 1 + query[at]
        kind = struct.unpack("!H", query[at + 1:at + 3])[0]
        name = ".".join(labels).lower()
        self.asked.append(name)
        address = self.table.get(name)
        record = b""
        if address and kind == 1:
            record = struct.pack("!HHHIH", 0xC00C, 1, 1, 5, 4) + socket.inet_aton(address)
        code = 0x8580 if address else 0x8583
        head = query[:2] + struct.pack("!HHHHH", code, 1, 1 if record else 0, 0, 0)
        return head + query[12:at + 5] + record

    def close(self):
        self.socket.close()
