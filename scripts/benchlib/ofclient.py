"""Just enough raw OpenFlow 1.3 to time one flow-mod: hello, flow-mod, barrier. Nothing here waits longer than the switch does."""

import socket
import struct
import time


class Client:
    """A connection to a management socket."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(path)
        self.xid = 100
        self.sock.sendall(struct.pack("!BBHI", 4, 0, 8, 1))
        self.barrier(b"")

    def _read(self, n):
        b = b""
        while len(b) < n:
            more = self.sock.recv(n - len(b))
            if not more:
                raise SystemExit("the switch closed the connection")
            b += more
        return b

    def barrier(self, before):
        """Sends `before` and a barrier at once, waits for the reply; (sent, replied) in CLOCK_MONOTONIC nanoseconds."""
        self.xid += 1
        t0 = time.monotonic_ns()
        self.sock.sendall(before + struct.pack("!BBHI", 4, 20, 8, self.xid))
        while True:
            _, kind, length, xid = struct.unpack("!BBHI", self._read(8))
            body = self._read(length - 8)
            if kind == 21 and xid == self.xid:
                return t0, time.monotonic_ns()
            if kind == 1:
                raise SystemExit(f"the switch refused: error {struct.unpack('!HH', body[:4])}")
            if kind == 2:
                self.sock.sendall(struct.pack("!BBHI", 4, 3, 8, xid))

    def flow_mod(self, command, priority, match, out=None):
        """Bytes of a flow-mod in table 0; `match` is a list of (OXM field, value bytes)."""
        self.xid += 1
        oxm = b"".join(struct.pack("!HBB", 0x8000, f << 1, len(v)) + v for f, v in match)
        m = struct.pack("!HH", 1, 4 + len(oxm)) + oxm
        m += bytes(-len(m) % 8)
        inst = b"" if out is None else struct.pack("!HHI", 4, 24, 0) + struct.pack("!HHIH6x", 0, 16, out, 0)
        body = struct.pack("!QQBBHHHIIIH2x", 0, 0, 0, command, 0, 0, priority, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0) + m + inst
        return struct.pack("!BBHI", 4, 14, 8 + len(body), self.xid) + body
