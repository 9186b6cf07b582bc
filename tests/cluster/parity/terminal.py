#!/usr/bin/env python3
"""Runs a command in a terminal: terminal.py ROWS COLUMNS NEW-ROWS NEW-COLUMNS COMMAND...

Once the command has printed "size ROWS COLUMNS", resizes and sends a line; prints all it read. The
exit code is the command's.
"""
import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time


def resize(terminal, rows, columns):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def main(rows, columns, new_rows, new_columns, *command):
    child, terminal = pty.fork()
    if child == 0:
        # Until the parent has set the size; the first one must not be the default.
        time.sleep(0.2)
        os.execvp(command[0], command)
    resize(terminal, int(rows), int(columns))
    seen, answered, deadline = b"", False, time.monotonic() + 50
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                data = os.read(terminal, 65536)
            except OSError:
                break
            if not data:
                break
            seen += data
        if not answered and f"size {rows} {columns}".encode() in seen:
            resize(terminal, int(new_rows), int(new_columns))
            os.write(terminal, b"go\r")
            answered = True
    else:
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    sys.stdout.write(seen.replace(b"\r\n", b"\n").decode(errors="replace"))
    sys.exit(os.waitstatus_to_exitcode(status) & 0xFF)


main(*sys.argv[1:])
