"""The shared page of a `net_gen` device (scripts/genpmd/gen.c, struct ctl): live counters, pause and rate, samples of what came out."""

import mmap
import os
import struct

QUEUES, SAMPLES = 16, 256
PAUSE, RATE, ARM, SAMPLE, EVERY, WATCH = 8, 16, 24, 32, 40, 48
RX, TX = 128, 128 + QUEUES * 64
SAMPLED, SEEN, DATA = TX + QUEUES * 64, TX + QUEUES * 64 + 8, TX + QUEUES * 64 + 64
SIZE = DATA + SAMPLES * 128
PACKETS, NOMBUF, MAX_GAP, FIRST_NS, MAX_RAN = 0, 16, 40, 48, 56


class Page:
    """One device's page. It begins paused."""

    def __init__(self, path, paused=True):
        self.path = path
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.ftruncate(fd, SIZE)
        self.mem = mmap.mmap(fd, SIZE)
        os.close(fd)
        self.put(PAUSE, int(paused))

    def get(self, at):
        return struct.unpack_from("=Q", self.mem, at)[0]

    def put(self, at, value):
        struct.pack_into("=Q", self.mem, at, value)

    def _sum(self, base, at):
        return sum(self.get(base + q * 64 + at) for q in range(QUEUES))

    def rx(self):
        """Packets that the device offered and the switch took."""
        return self._sum(RX, PACKETS)

    def tx(self):
        """Packets that the switch sent to this device."""
        return self._sum(TX, PACKETS)

    def pause(self, on=True):
        self.put(PAUSE, int(on))

    def rate(self, pps):
        """At most so many packets a second from now on; 0: as fast as they are taken."""
        self.put(RATE, pps)

    def sample(self, count, every=1):
        """Keep a copy of each `every`-th of the next transmitted packets, `count` in all (up to 256)."""
        self.put(SAMPLE, 0)
        self.put(SEEN, 0)
        self.put(SAMPLED, 0)
        self.put(EVERY, every)
        self.put(SAMPLE, min(count, SAMPLES))

    def samples(self):
        """The frames sampled so far; at most the first 126 bytes of each."""
        out = []
        for i in range(self.get(SAMPLED)):
            at = DATA + i * 128
            n = struct.unpack_from("=H", self.mem, at)[0]
            out.append(bytes(self.mem[at + 2:at + 2 + min(n, 126)]))
        return out

    def watch(self, on=True):
        """Look out for the longest pause between two bursts, from now on."""
        self.put(WATCH, 0)
        for q in range(QUEUES):
            for base in (RX, TX):
                self.put(base + q * 64 + MAX_GAP, 0)
                self.put(base + q * 64 + MAX_RAN, 0)
        self.put(WATCH, int(on))

    def longest_gap(self, sent=True):
        """TSC cycles of the longest pause between two transmitted bursts, or (not `sent`) between two polls."""
        return max(self.get((TX if sent else RX) + q * 64 + MAX_GAP) for q in range(QUEUES))

    def longest_run(self, sent=True):
        """TSC cycles that the forwarding thread itself ran within one such pause, at most: what a longer pause is longer by, others had the processor."""
        return max(self.get((TX if sent else RX) + q * 64 + MAX_RAN) for q in range(QUEUES))

    def arm(self):
        """The time of the next transmitted packet is wanted."""
        for q in range(QUEUES):
            self.put(TX + q * 64 + FIRST_NS, 0)
        self.put(ARM, 1)

    def first_ns(self):
        """Its CLOCK_MONOTONIC in nanoseconds, 0 as long as there was none."""
        return max(self.get(TX + q * 64 + FIRST_NS) for q in range(QUEUES))

    def close(self):
        self.mem.close()
        os.unlink(self.path)
