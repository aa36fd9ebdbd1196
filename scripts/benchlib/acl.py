"""Access lists in the style of ClassBench's acl1 seed, and a trace of packets that hit them. Ours, not ClassBench's code.

The seed's character: source prefixes long (28-32) or absent, destination prefixes 16-32 nested in a few hundred networks, source ports mostly
any, destination ports mostly one of the well-known, else a range; nine in ten rules are TCP or UDP. Ranges are expanded into masked values, as
OpenFlow needs; the rules overlap, so priorities matter.
"""

import random

from .frames import frame, ip4

SRC_LENGTHS = [(0, 12), (8, 1), (16, 4), (20, 3), (22, 3), (23, 4), (24, 12), (25, 4), (26, 5), (27, 6), (28, 10), (29, 8), (30, 9), (31, 5), (32, 30)]
DST_LENGTHS = [(0, 2), (13, 1), (16, 6), (18, 3), (20, 4), (21, 3), (22, 4), (23, 5), (24, 16), (25, 5), (26, 5), (27, 6), (28, 9), (29, 6), (30, 7), (31, 4), (32, 34)]
PORTS = [80, 443, 25, 53, 22, 23, 21, 110, 143, 161, 389, 445, 1433, 1521, 1526, 3306, 5190, 5631, 5632, 6789, 1711, 1707, 2788, 1715, 1221, 135, 1550, 1705]
RANGES = [(1024, 65535), (0, 1023), (1300, 1349), (5000, 5009), (6000, 6063), (7300, 7399), (20, 21), (137, 139), (161, 162), (1755, 1760), (2003, 2012)]


def weighted(r, table):
    return r.choices([v for v, _ in table], [w for _, w in table])[0]


def prefixes(r, lengths, networks):
    """An endless supply of (value, length), nested in a few networks."""
    while True:
        n = weighted(r, lengths)
        yield (r.choice(networks) | r.getrandbits(32) >> 16) & (0xFFFFFFFF << (32 - n)) & 0xFFFFFFFF, n


def masked(lo, hi):
    """The (value, mask) pairs that cover lo..=hi of 16 bits."""
    while lo <= hi:
        size = lo & -lo or 1 << 16
        while size > hi - lo + 1:
            size >>= 1
        yield lo, 0xFFFF & -size
        lo += size


class Acl:
    """`rules` in order of priority: (source, destination, source ports, destination ports, protocol, permitted)."""

    def __init__(self, count, seed=7):
        r = random.Random(seed)
        src = prefixes(r, SRC_LENGTHS, [r.getrandbits(32) & 0x7FFF0000 | 0x01000000 for _ in range(150)])
        dst = prefixes(r, DST_LENGTHS, [r.getrandbits(32) & 0x7FFF0000 | 0x01000000 for _ in range(250)])
        have, self.rules = set(), []
        while len(self.rules) < count:
            proto = weighted(r, [(6, 76), (17, 14), (1, 4), (None, 6)])
            ports = [(0, 65535), (0, 65535)]
            if proto in (6, 17):
                if r.random() < 0.02:
                    ports[0] = r.choice(RANGES)
                x = r.random()
                if x < 0.62:
                    p = r.choice(PORTS)
                    ports[1] = (p, p)
                elif x < 0.78:
                    ports[1] = r.choice(RANGES)
            rule = (next(src), next(dst), *ports, proto)
            if rule in have or rule[0][1] + rule[1][1] < 24:
                continue
            have.add(rule)
            self.rules.append(rule + (r.random() < 0.8,))
        # More specific ones first, as people write them, with some disorder.
        self.rules.sort(key=lambda x: -(x[0][1] + x[1][1]) + r.randrange(8))
        self._index()

    def flows(self, port_in=1, port_out=2):
        """OpenFlow entries: permitted traffic goes out, the rest is dropped."""
        out = []
        for i, ((s, sl), (d, dl), sp, dp, proto, ok) in enumerate(self.rules):
            for sv, sm in masked(*sp):
                for dv, dm in masked(*dp):
                    m = [f"priority={60000 - i}", f"in_port={port_in}", {6: "tcp", 17: "udp", 1: "icmp", None: "ip"}[proto]]
                    m += [f"nw_src={ip4(s, sl)}/{sl}"] * bool(sl) + [f"nw_dst={ip4(d, dl)}/{dl}"] * bool(dl)
                    m += [f"tp_src={sv:#x}/{sm:#x}"] * bool(sm) + [f"tp_dst={dv:#x}/{dm:#x}"] * bool(dm)
                    out.append(",".join(m) + (f",actions=output:{port_out}" if ok else ",actions=drop"))
        return out

    def _index(self):
        self.tuples = {}
        for i, (s, d, *_) in enumerate(self.rules):
            self.tuples.setdefault((s[1], d[1]), {}).setdefault((s[0], d[0]), []).append(i)

    def permitted(self, src, dst, sport, dport, proto):
        """What the list says of one packet: the first rule decides, none drops."""
        best = len(self.rules)
        for (sl, dl), group in self.tuples.items():
            key = (src & (0xFFFFFFFF << (32 - sl)) & 0xFFFFFFFF, dst & (0xFFFFFFFF << (32 - dl)) & 0xFFFFFFFF)
            for i in group.get(key, ()):
                _, _, sp, dp, p, _ = self.rules[i]
                if i < best and p in (None, proto) and sp[0] <= sport <= sp[1] and dp[0] <= dport <= dp[1]:
                    best = i
        return best < len(self.rules) and self.rules[best][5]

    def trace(self, count, length, seed=8):
        """`count` different packets, each inside a rule, played in a random order of `length`; and for each whether it is let through."""
        r, have = random.Random(seed), []
        for _ in range(count):
            (s, sl), (d, dl), sp, dp, proto, _ = r.choice(self.rules)
            fields = (s | r.getrandbits(32) & ((1 << (32 - sl)) - 1), d | r.getrandbits(32) & ((1 << (32 - dl)) - 1), r.randint(*sp), r.randint(*dp),
                      proto or r.choice((6, 17)))
            src, dst, sport, dport, p = fields
            # Of an ICMP packet, OpenFlow's rules for ports see nothing.
            have.append((frame(src=src, dst=dst, sport=sport, dport=dport, proto=p), self.permitted(src, dst, 0 if p == 1 else sport, 0 if p == 1 else dport, p)))
        return [have[int(r.random() * count)] for _ in range(length)]
