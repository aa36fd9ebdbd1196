"""Packets, traces of packets, and what a right packet looks like behind the switch."""

import random
import struct


def checksum(b):
    s = sum(struct.unpack(f"!{len(b) // 2}H", b))
    s = (s & 0xFFFF) + (s >> 16)
    return ~(s + (s >> 16)) & 0xFFFF


def frame(dmac=0x020001000001, smac=0x020100000001, src=0x0A000000, dst=0x0B000001, sport=1024, dport=80, proto=17, vlan=None):
    """60 bytes, that is 64 on the wire."""
    ip = struct.pack("!BBHHHBBHII", 0x45, 0, 46 if vlan is None else 42, 0, 0x4000, 64, proto, 0, src, dst)
    ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
    eth = dmac.to_bytes(6, "big") + smac.to_bytes(6, "big")
    tag = b"" if vlan is None else struct.pack("!HH", 0x8100, vlan)
    if proto == 6:
        l4 = struct.pack("!HHIIBBHHH", sport, dport, 1, 1, 0x50, 0x10, 8192, 0, 0)
    elif proto == 17:
        l4 = struct.pack("!HHHH", sport, dport, 26 if vlan is None else 22, 0)
    else:
        l4 = struct.pack("!BBHI", 8, 0, 0, 0) if proto == 1 else b""
    return (eth + tag + b"\x08\x00" + ip + l4).ljust(60, b"\0")


def write_trace(path, frames):
    """Records of 64 bytes, as the generator reads them."""
    with open(path, "wb") as f:
        f.write(b"".join(fr.ljust(64, b"\0") for fr in frames))


def write_pcap(path, frames):
    """A capture in random order."""
    frames = list(frames)
    random.Random(1).shuffle(frames)
    while len(frames) < 512:
        frames += frames[:512]
    with open(path, "wb") as f:
        f.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for fr in frames:
            f.write(struct.pack("<IIII", 0, 0, len(fr), len(fr)) + fr)


def drawn(frames, length, seed=1):
    """A trace of `length` frames, each drawn from `frames`."""
    frames, r = list(frames), random.Random(seed)
    return [frames[int(r.random() * len(frames))] for _ in range(length)]


def shuffled(frames, seed=1):
    """A trace of each of these once, in random order: no larger than it must be, for what the generator reads pushes the switch's memory out of the caches."""
    frames = list(frames)
    random.Random(seed).shuffle(frames)
    return frames


class Seen:
    """The fields of a frame, for checks. `fault` names what is wrong with it in itself."""

    def __init__(self, b):
        self.bytes, self.fault = b, None
        self.dmac, self.smac = int.from_bytes(b[:6], "big"), int.from_bytes(b[6:12], "big")
        at, self.vlans = 12, []
        while b[at:at + 2] in (b"\x81\x00", b"\x88\xa8"):
            self.vlans.append(int.from_bytes(b[at + 2:at + 4], "big") & 0xFFF)
            at += 4
        if b[at:at + 2] != b"\x08\x00":
            self.fault = f"Ethertype {b[at:at + 2].hex()}"
            return
        ip = b[at + 2:]
        self.ttl, self.proto = ip[8], ip[9]
        self.src, self.dst = struct.unpack("!II", ip[12:20])
        self.sport, self.dport = struct.unpack("!HH", ip[20:24])
        if checksum(ip[:20]):
            self.fault = "wrong IPv4 checksum"


def expect(**fields):
    """A check: each named field has this value, or passes this predicate of the frame."""

    def check(seen):
        if seen.fault:
            return seen.fault
        for name, want in fields.items():
            have = getattr(seen, name)
            want = want(seen) if callable(want) else want
            if have != want:
                return f"{name} is {have!r}, not {want!r}"
        return None

    return check


def ip4(v, plen=32):
    v &= 0xFFFFFFFF << (32 - plen) & 0xFFFFFFFF
    return ".".join(str(v >> s & 255) for s in (24, 16, 8, 0))


def mac(v):
    return ":".join(f"{v >> x & 255:02x}" for x in range(40, -1, -8))
