#!/usr/bin/env python3
"""Run the OpenFlow 1.3 switch test suite of Ryu (kept alive in os-ken) against a switch, fast and repeatably.

The cases are the JSON files that os-ken installs (os_ken/tests/switch/of13); nothing of the suite is kept in this tree.
The network is the suite's own: a tester switch (Open vSwitch) and a target switch, joined port by port:

    harness ---- unix socket ---- target   (1) (2) (3)
       \\                                    |   |   |
        +------- unix socket ---- tester   (1) (2) (3)

For each case: empty both switches, install the prerequisites on the target and read them back, let the tester send a packet from
port 1 (or a stream of packets), then compare what leaves the target's port 2 and 3, what it sends to the controller, or its table
statistics. Several pairs of bridges run side by side, each served by its own process. The harness runs itself in a private
network namespace, so it can neither disturb nor be disturbed, and leaves nothing behind.

The suite's own faults are mended here (see `Mend`) unless --stock is given.
"""

import argparse
import collections
import errno
import glob
import hashlib
import json
import multiprocessing
import os
import random
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))

CATEGORIES = ("action", "group", "match", "meter")
REPLY_TIMEOUT = 3.0
# The stock tester's numbers, kept.
THROUGHPUT_PRIORITY = 0x8000 + 1
THROUGHPUT_MARGIN = 0.10
TABLE_MISS_WAIT = 1.0
# Not a judgement: the time of --budget was used up before the case began.
LEFT_OUT = "left out: --budget is used up"


def load_osken():
    """Import os-ken; the packet classes go into the namespace in which the suite's packet expressions are evaluated."""
    import inspect
    import netaddr
    import os_ken.lib.packet as pktlib
    from os_ken.ofproto import ofproto_parser, ofproto_protocol
    import os_ken.tests.switch as suite
    names = {"netaddr": netaddr, "randint": random.randint, "bytes": bytes}
    modules = "ethernet arp icmp icmpv6 ipv4 ipv6 pbb mpls sctp tcp udp vlan".split()
    aliases = {("ipv6", "option"): "ipv6option", ("icmpv6", "echo"): "icmpv6echo"}
    for mod in modules:
        m = __import__("os_ken.lib.packet." + mod, fromlist=["*"])
        for name, obj in inspect.getmembers(m, inspect.isclass):
            if obj.__module__ == m.__name__:
                names[aliases.get((mod, name), name)] = obj
    return ofproto_parser, ofproto_protocol, names, os.path.join(os.path.dirname(suite.__file__), "of13")


# ---------------------------------------------------------------------------------------------------------------------------------
# The suite's faults, found by running it against Open vSwitch, and their mends.
# ---------------------------------------------------------------------------------------------------------------------------------
CRC32C = []
for _i in range(256):
    _c = _i
    for _ in range(8):
        _c = (_c >> 1) ^ 0x82F63B78 if _c & 1 else _c >> 1
    CRC32C.append(_c)


def crc32c(data):
    """CRC32c as SCTP wants it (RFC 4960 appendix B)."""
    crc = 0xFFFFFFFF
    for b in data:
        crc = (crc >> 8) ^ CRC32C[(crc ^ b) & 0xFF]
    return crc ^ 0xFFFFFFFF


def sctp_offset(frame):
    """Where the SCTP header of a frame starts and where its IP payload ends, or None."""
    off, etype = 14, struct.unpack_from("!H", frame, 12)[0]
    while True:
        if etype in (0x8100, 0x88A8):
            etype = struct.unpack_from("!H", frame, off + 2)[0]
            off += 4
        elif etype == 0x88E7:
            etype = struct.unpack_from("!H", frame, off + 16)[0]
            off += 18
        elif etype in (0x8847, 0x8848):
            bottom = frame[off + 2] & 1
            off += 4
            if bottom:
                etype = 0x0800 if frame[off] >> 4 == 4 else 0x86DD
        elif etype == 0x0800:
            if frame[off + 9] != 132:
                return None
            return off + 4 * (frame[off] & 15), off + struct.unpack_from("!H", frame, off + 2)[0]
        elif etype == 0x86DD:
            if frame[off + 6] != 132:
                return None
            return off + 40, off + 40 + struct.unpack_from("!H", frame, off + 4)[0]
        else:
            return None


class Mend:
    """What the harness does differently from the stock tester, each for a fault that is the tool's."""

    def __init__(self, stock):
        self.on = not stock

    def sctp(self, frame):
        """os-ken's SCTP checksum is not the CRC32c of the packet as sent; put the right one in."""
        if not self.on:
            return frame
        try:
            span = sctp_offset(frame)
        except (IndexError, struct.error):
            return frame
        if not span:
            return frame
        start, end = span
        body = bytearray(frame[start:end])
        body[8:12] = bytes(4)
        crc = struct.pack("<I", crc32c(body))
        return frame[:start + 8] + crc + frame[start + 12:]

    def same_frame(self, want, got):
        """A frame that loses a header does not grow padding again: the suite expects 60 bytes after pop_mpls."""
        if want == got:
            return True
        if not self.on or len(want) != 60 or len(got) >= 60:
            return False
        return want[:len(got)] == got and not any(want[len(got):])

    def bands(self, meter):
        """burst_size is the switch's own choice unless OFPMF_BURST is set."""
        if self.on and not meter.flags & 4:
            for band in meter.bands:
                band.burst_size = 0
        return str(meter.bands)


# ---------------------------------------------------------------------------------------------------------------------------------
# An OpenFlow connection, as plain as possible.
# ---------------------------------------------------------------------------------------------------------------------------------
class Disconnected(Exception):
    """The switch closed its connection."""


class Failure(Exception):
    """The case failed; the text says how."""


class Switch:
    """One connected switch: sends messages made by os-ken's encoder, gives back messages parsed by its decoder."""

    def __init__(self, name, listener, osken):
        self.name, self.parse_msg = name, osken[0].msg
        self.dp = osken[1].ProtocolDesc(4)
        self.ofp, self.parser = self.dp.ofproto, self.dp.ofproto_parser
        self.listener, self.sock = listener, None
        self.xid = random.randrange(1, 1 << 30)
        self.buf = bytearray()
        self.inbox = collections.deque()

    def accept(self, timeout=20):
        """Wait for the switch to connect and shake hands as os-ken does."""
        end = time.monotonic() + timeout
        while True:
            self.listener.settimeout(max(0.1, end - time.monotonic()))
            try:
                self.sock, _ = self.listener.accept()
            except socket.timeout:
                raise Disconnected(f"{self.name} did not connect within {timeout} s")
            try:
                return self.handshake()
            except Disconnected:
                # A connection that the switch had given up while nobody took it.
                self.sock.close()
                self.sock = None
                if time.monotonic() > end:
                    raise

    def handshake(self):
        self.sock.setblocking(False)
        self.buf.clear()
        self.inbox.clear()
        self.send(self.parser.OFPHello(self.dp, elements=[]))
        xid = self.send(self.parser.OFPFeaturesRequest(self.dp))
        if self.wait(lambda m: m.msg_type == self.ofp.OFPT_FEATURES_REPLY and m.xid == xid) is None:
            raise Disconnected(f"{self.name} does not answer FEATURES_REQUEST")
        self.send(self.parser.OFPSetConfig(self.dp, self.ofp.OFPC_FRAG_NORMAL, 128))

    def next_xid(self):
        self.xid = (self.xid + 1) & 0x7FFFFFFF
        return self.xid

    def send(self, msg):
        """Encode and send one message, return its xid."""
        msg.xid = None
        msg.set_xid(self.next_xid())
        msg.serialize()
        self.write(bytes(msg.buf))
        return msg.xid

    def write(self, data):
        """Write all of it, taking in what the switch sends meanwhile."""
        view = memoryview(data)
        while view:
            try:
                view = view[self.sock.send(view):]
            except BlockingIOError:
                r, _, _ = select.select([self.sock], [self.sock], [], 5)
                if r:
                    self.pump()
            except OSError as e:
                raise Disconnected(f"{self.name}: {e}")

    def pump(self):
        """Take in what has arrived; answer echo requests."""
        while True:
            try:
                data = self.sock.recv(1 << 18)
            except BlockingIOError:
                break
            except OSError as e:
                raise Disconnected(f"{self.name}: {e}")
            if not data:
                raise Disconnected(f"{self.name} closed the connection")
            self.buf += data
            if len(data) < 1 << 18:
                break
        off = 0
        while len(self.buf) - off >= 8:
            version, mtype, length, xid = struct.unpack_from("!BBHI", self.buf, off)
            if len(self.buf) - off < length or length < 8:
                break
            raw = bytes(self.buf[off:off + length])
            off += length
            if mtype == 2:
                self.write(struct.pack("!BBHI", 4, 3, length, xid) + raw[8:])
            elif mtype not in (0, 3):
                self.inbox.append(self.parse_msg(self.dp, version, mtype, length, xid, raw))
        del self.buf[:off]

    def take(self, pred):
        """The first message in the inbox that satisfies `pred`, removed from it."""
        for i, m in enumerate(self.inbox):
            if pred(m):
                del self.inbox[i]
                return m
        return None

    def wait(self, pred, timeout=REPLY_TIMEOUT):
        """Wait for such a message."""
        end = time.monotonic() + timeout
        while True:
            m = self.take(pred)
            if m is not None:
                return m
            left = end - time.monotonic()
            if left <= 0:
                return None
            if select.select([self.sock], [], [], left)[0]:
                self.pump()

    def barrier(self, what="", xids=()):
        """A barrier; an error for one of `xids` before it is a failure."""
        xids = set(xids)
        xid = self.send(self.parser.OFPBarrierRequest(self.dp))
        reply = self.wait(lambda m: m.xid == xid and m.msg_type == self.ofp.OFPT_BARRIER_REPLY)
        err = self.take(lambda m: m.msg_type == self.ofp.OFPT_ERROR and (m.xid in xids or m.xid == xid))
        if err is not None:
            raise Failure(f"{what}: error type={err.type} code={err.code}")
        if reply is None:
            raise Failure(f"{what}: no barrier reply from {self.name}")

    def multipart(self, req, what):
        """Send a statistics request, return the bodies of all parts of the reply."""
        xid = self.send(req)
        out = []
        while True:
            m = self.wait(lambda m: m.xid == xid)
            if m is None:
                raise Failure(f"{what}: no reply from {self.name}")
            if m.msg_type == self.ofp.OFPT_ERROR:
                raise Failure(f"{what}: error type={m.type} code={m.code}")
            out += m.body
            if not m.flags & self.ofp.OFPMPF_REPLY_MORE:
                return out

    # What the tester asks of a switch.
    def flow_stats(self):
        p, o = self.parser, self.ofp
        return self.multipart(p.OFPFlowStatsRequest(self.dp, 0, o.OFPTT_ALL, o.OFPP_ANY, o.OFPG_ANY, 0, 0, p.OFPMatch()), "flow stats")

    def meter_configs(self):
        return self.multipart(self.parser.OFPMeterConfigStatsRequest(self.dp), "meter config")

    def group_descs(self):
        return self.multipart(self.parser.OFPGroupDescStatsRequest(self.dp), "group desc")

    def table_stats(self):
        stats = self.multipart(self.parser.OFPTableStatsRequest(self.dp, 0), "table stats")
        return {t.table_id: (t.lookup_count, t.matched_count) for t in stats}

    def port_stats(self):
        stats = self.multipart(self.parser.OFPPortStatsRequest(self.dp, 0, self.ofp.OFPP_ANY), "port stats")
        return {s.port_no: (s.rx_packets, s.tx_packets) for s in stats}

    def reset(self):
        """Empty the tables; what comes back to port 2 goes to the controller."""
        p, o = self.parser, self.ofp
        xids = [self.send(p.OFPFlowMod(self.dp, table_id=o.OFPTT_ALL, command=o.OFPFC_DELETE, out_port=o.OFPP_ANY, out_group=o.OFPG_ANY))]
        inst = [p.OFPInstructionActions(o.OFPIT_APPLY_ACTIONS, [p.OFPActionOutput(o.OFPP_CONTROLLER)])]
        xids.append(self.send(p.OFPFlowMod(self.dp, match=p.OFPMatch(in_port=2), instructions=inst)))
        self.barrier(f"emptying {self.name}", xids)

    def packet_out(self, data):
        """The bytes of a PACKET_OUT of `data` to port 1."""
        p, o = self.parser, self.ofp
        m = p.OFPPacketOut(datapath=self.dp, buffer_id=o.OFP_NO_BUFFER, data=data, in_port=o.OFPP_CONTROLLER, actions=[p.OFPActionOutput(1)])
        m.set_xid(self.next_xid())
        m.serialize()
        return bytes(m.buf)


# ---------------------------------------------------------------------------------------------------------------------------------
# Cases
# ---------------------------------------------------------------------------------------------------------------------------------
Case = collections.namedtuple("Case", "number category file description body timed pps")


def load_cases(suite_dir):
    """All cases of the four directories, in a fixed order."""
    cases = []
    for cat in CATEGORIES:
        for path in sorted(glob.glob(os.path.join(suite_dir, cat, "**", "*.json"), recursive=True)):
            with open(path) as f:
                items = json.load(f)
            for body in items:
                if isinstance(body, str):
                    continue
                ingress = body["tests"][0]["ingress"]
                timed = isinstance(ingress, dict)
                pps = ingress["packets"].get("pktps", 1000) if timed else 0
                cases.append(Case(len(cases), cat, os.path.relpath(path, suite_dir)[:-5], body["description"], body, timed, pps))
    return cases


def with_ports(val):
    """Port names of the suite (`target_send_port_1` ...) to the numbers of our network."""
    ports = {"target_recv_port": 1, "target_send_port_1": 2, "target_send_port_2": 3,
             "tester_send_port": 1, "tester_recv_port_1": 2, "tester_recv_port_2": 3}
    if isinstance(val, dict):
        return {k: with_ports(v) for k, v in val.items()}
    if isinstance(val, list):
        return [with_ports(v) for v in val]
    return ports.get(val, val) if isinstance(val, str) else val


class Pair:
    """A tester and a target joined by three links, and how to run a case on them."""

    def __init__(self, args, number, listeners, osken):
        self.args, self.number, self.osken = args, number, osken
        self.mend = Mend(args.stock)
        self.tester = Switch("tester", listeners[0], osken)
        self.target = Switch("target", listeners[1], osken)

    def connect(self):
        for sw in (self.tester, self.target):
            if sw.sock is None:
                sw.accept()

    def packet(self, exprs):
        """A packet from the suite's expressions."""
        pkt = eval("/".join(exprs), self.osken[2])  # noqa: S307 (the suite's own language)
        pkt.serialize()
        return self.mend.sctp(bytes(pkt.data))

    def settle(self, *which):
        """Open vSwitch repairs its megaflows some time after the barrier reply; wait until it says it is through."""
        for sw in which:
            if sw == "tester" or self.args.target == "ovs":
                ovs_appctl(self.args.rundir, "revalidator/wait")
                return

    def run(self, case):
        """Run one case: None if it passed, else why not."""
        try:
            self.connect()
            self.run_case(case)
            return None
        except Failure as e:
            return str(e)
        except Disconnected as e:
            for sw in (self.tester, self.target):
                if sw.sock:
                    sw.sock.close()
                sw.sock = None
            return f"disconnected: {e}"

    def clear(self):
        t, o, p = self.target, self.target.ofp, self.target.parser
        xids = [t.send(p.OFPMeterMod(t.dp, command=o.OFPMC_DELETE, flags=0, meter_id=o.OFPM_ALL)),
                t.send(p.OFPGroupMod(t.dp, command=o.OFPGC_DELETE, type_=0, group_id=o.OFPG_ALL))]
        t.barrier("emptying groups and meters", xids if self.mend.on else ())
        t.reset()
        self.tester.reset()

    def run_case(self, case):
        body = with_ports(case.body)
        self.clear()
        self.settle("tester", "target")
        for sw in (self.tester, self.target):
            sw.pump()
            sw.inbox.clear()
        t, parser = self.target, self.target.parser
        for item in body["prerequisite"]:
            msg = self.osken[0].ofp_msg_from_jsondict(t.dp, item)
            msg.serialize()
            t.barrier("installing " + next(iter(item)), [t.send(msg)])
            if isinstance(msg, parser.OFPFlowMod):
                self.read_back("flow", t.flow_stats(), lambda s: self.flow_differs(s, msg))
            elif isinstance(msg, parser.OFPMeterMod):
                self.read_back("meter", t.meter_configs(), lambda s: self.meter_differs(s, msg))
            elif isinstance(msg, parser.OFPGroupMod):
                self.read_back("group", t.group_descs(), lambda s: self.group_differs(s, msg))
        self.settle("target")
        for test in body["tests"]:
            if isinstance(test["egress" if "egress" in test else "ingress"], dict):
                self.throughput(test)
            elif "egress" in test:
                self.one_packet(test["ingress"], test["egress"], self.tester)
            elif "PACKET_IN" in test:
                self.one_packet(test["ingress"], test["PACKET_IN"], self.target)
            else:
                self.table_miss(test)

    @staticmethod
    def read_back(kind, found, differs):
        why = []
        for s in found:
            d = differs(s)
            if d is None:
                return
            why.append(d)
        raise Failure(f"{kind} not seen back as sent: {'; '.join(why) or 'nothing there'}"[:600])

    @staticmethod
    def flow_differs(stats, mod):
        for attr in ("cookie", "priority", "hard_timeout", "idle_timeout", "table_id"):
            if getattr(stats, attr) != getattr(mod, attr):
                return f"{attr} {getattr(stats, attr)} != {getattr(mod, attr)}"
        a, b = str(stats.match.to_jsondict()), str(mod.match.to_jsondict())
        if a != b:
            return f"match {a} != {b}"
        a, b = (str(sorted(x.instructions, key=lambda i: i.type)) for x in (stats, mod))
        return None if a == b else f"instructions {a} != {b}"

    def meter_differs(self, stats, mod):
        if (stats.flags, stats.meter_id) != (mod.flags, mod.meter_id):
            return f"flags/id {(stats.flags, stats.meter_id)} != {(mod.flags, mod.meter_id)}"
        a, b = self.mend.bands(stats), self.mend.bands(mod)
        return None if a == b else f"bands {a} != {b}"

    def group_differs(self, stats, mod):
        attrs = ("type", "group_id", "buckets") if self.mend.on else ("type",)
        for attr in attrs:
            a, b = str(getattr(stats, attr)), str(getattr(mod, attr))
            if a != b:
                return f"{attr} {a} != {b}"
        return None

    def one_packet(self, ingress, want, at):
        """Send one packet from the tester's port 1; `want` must come out of `at` as a packet-in, and nothing else first."""
        sent, want = self.packet(ingress), self.packet(want)
        before = None
        if self.args.counters:
            before = (self.tester.port_stats(), self.target.port_stats())
        self.tester.write(self.tester.packet_out(sent))
        end = time.monotonic() + REPLY_TIMEOUT
        got, who = None, None
        while got is None and time.monotonic() < end:
            for sw in (self.tester, self.target):
                err = sw.take(lambda m: m.msg_type == sw.ofp.OFPT_ERROR)
                if err is not None:
                    raise Failure(f"error from {sw.name} while sending: type={err.type} code={err.code}")
                got = sw.take(lambda m: m.msg_type == sw.ofp.OFPT_PACKET_IN)
                if got is not None:
                    who = sw
                    break
            else:
                ready = select.select([self.tester.sock, self.target.sock], [], [], max(0.0, end - time.monotonic()))[0]
                for sw in (self.tester, self.target):
                    if sw.sock in ready:
                        sw.pump()
        where = "egress" if at is self.tester else "packet-in"
        if got is None:
            raise Failure(f"no {where} packet" + (self.where_lost(before) if before else ""))
        if who is not at:
            raise Failure(f"packet-in from the {who.name}, expected from the {at.name}")
        if got.reason != at.ofp.OFPR_ACTION:
            raise Failure(f"packet-in reason {got.reason}")
        if not self.mend.same_frame(want, bytes(got.data)):
            raise Failure(f"wrong {where} packet: want {want.hex()} got {bytes(got.data).hex()}")

    def where_lost(self, before):
        after = (self.tester.port_stats(), self.target.port_stats())
        d = lambda sw, port, i: after[sw][port][i] - before[sw][port][i]  # noqa: E731
        return (f" (tester tx {d(0, 1, 1)}, target rx {d(1, 1, 0)}, target tx {d(1, 2, 1)}, tester rx {d(0, 2, 0)})")

    def table_miss(self, test):
        """The packet must be looked up in one of the tables and match in none."""
        tables = test["table-miss"]
        before = self.target.table_stats()
        self.tester.write(self.tester.packet_out(self.packet(test["ingress"])))
        self.tester.barrier("sending")
        end = time.monotonic() + TABLE_MISS_WAIT
        if not self.mend.on:
            time.sleep(TABLE_MISS_WAIT)
        while True:
            after = self.target.table_stats()
            looked = [t for t in tables if after[t][0] > before[t][0]]
            if any(after[t][1] > before[t][1] for t in looked):
                raise Failure("matched, a miss was expected")
            if looked:
                return
            if time.monotonic() > end:
                raise Failure("lookup_count did not change")
            time.sleep(0.005)

    def throughput(self, test):
        """A stream of packets, and the rates at which they come out of the target."""
        spec = test["ingress"]["packets"]
        pps, duration = spec.get("pktps", 1000), spec.get("duration_time", 30)
        if self.args.duration:
            duration = self.args.duration
        tester, wants = self.tester, []
        for t in test["egress"]["throughput"]:
            msg = self.osken[0].ofp_msg_from_jsondict(tester.dp, {"OFPFlowMod": {
                "cookie": THROUGHPUT_PRIORITY, "priority": THROUGHPUT_PRIORITY, "match": {"OFPMatch": t["OFPMatch"]}}})
            tester.barrier("preparing the tester", [tester.send(msg)])
            wants.append((t, str(msg.match.to_jsondict())))
        self.settle("tester")
        fixed = None
        if not any("randint" in e for e in spec["data"]):
            fixed = tester.packet_out(self.packet(spec["data"]))
        before = (tester.port_stats(), self.target.port_stats())
        start_counts, start = self.rates(), time.monotonic()
        # The mended sender keeps to the clock; the stock one sleeps 10 ms between shares of 10 ms and so falls behind.
        sent = 0
        if self.mend.on:
            total = int(pps * duration)
            while sent < total:
                due = min(total, int((time.monotonic() - start) * pps) + 1)
                if due > sent:
                    n = min(due - sent, 256)
                    tester.write(fixed * n if fixed else b"".join(tester.packet_out(self.packet(spec["data"])) for _ in range(n)))
                    sent += n
                else:
                    time.sleep(0.001)
                for sw in (tester, self.target):
                    sw.pump()
            elapsed = time.monotonic() - start
            tester.barrier("sending")
            end_counts, last = self.rates(), None
            while end_counts != last:
                time.sleep(0.2)
                self.settle("tester")
                last, end_counts = end_counts, self.rates()
        else:
            acc = 0.0
            while time.monotonic() - start < duration:
                acc += pps * 0.01
                n = int(acc)
                acc -= n
                time.sleep(0.01)
                self.target.pump()
                for _ in range(n):
                    tester.write(fixed or tester.packet_out(self.packet(spec["data"])))
            end_counts = self.rates()
            elapsed = time.monotonic() - start
        problems = []
        for t, match in wants:
            if match not in start_counts or match not in end_counts:
                raise Failure(f"the tester lost its flow {match}")
            unit = "pktps" if t.get("pktps") else "kbps"
            scale = 1 if unit == "pktps" else 1024 / 8
            count = end_counts[match][unit == "pktps"] - start_counts[match][unit == "pktps"]
            rate = count / elapsed / scale
            if abs(rate - t[unit]) > THROUGHPUT_MARGIN * t[unit]:
                fields = ",".join(f"{f['OXMTlv']['field']}={f['OXMTlv']['value']}" for f in t["OFPMatch"]["oxm_fields"])
                problems.append(f"{fields}: {rate:.1f} {unit}, expected {t[unit]}")
        if problems:
            raise Failure(f"throughput: {', '.join(problems)}; offered {sent}{self.where_lost(before)}")

    def rates(self):
        """(bytes, packets) of each measuring flow of the tester."""
        return {str(s.match.to_jsondict()): (s.byte_count, s.packet_count) for s in self.tester.flow_stats() if s.cookie == THROUGHPUT_PRIORITY}


# ---------------------------------------------------------------------------------------------------------------------------------
# Switches under test
# ---------------------------------------------------------------------------------------------------------------------------------
def sh(*cmd, check=True):
    p = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if check and p.returncode:
        sys.exit(f"{' '.join(cmd)}: {p.stdout.strip()}")
    return p.stdout


def ovs_appctl(rundir, *cmd):
    """A command to ovs-vswitchd by its control socket (JSON-RPC 1.0), without starting a program."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.connect(os.path.join(rundir, "vswitchd.ctl"))
        s.sendall(json.dumps({"id": 0, "method": cmd[0], "params": list(cmd[1:])}).encode())
        s.settimeout(10)
        out = b""
        while True:
            out += s.recv(65536)
            try:
                return json.loads(out)["result"]
            except ValueError:
                continue


def listener(path):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.bind(path)
    s.listen(4)
    return s


class Bed:
    """The links, Open vSwitch with the tester bridges, and the switch under test with the target bridges."""

    def __init__(self, args, pairs):
        self.args, self.procs = args, []
        rd = args.rundir
        env = dict(os.environ, OVS_RUNDIR=rd, OVS_DBDIR=rd, OVS_LOGDIR=rd)
        for i in range(pairs):
            for p in (1, 2, 3):
                sh("ip", "link", "add", f"s{i}p{p}", "type", "veth", "peer", "name", f"t{i}p{p}")
                for end in (f"s{i}p{p}", f"t{i}p{p}"):
                    with open(f"/proc/sys/net/ipv6/conf/{end}/disable_ipv6", "w") as f:
                        f.write("1")
                    sh("ip", "link", "set", end, "arp", "off", "up")
                    sh("ethtool", "-K", end, "tx", "off", "rxvlan", "off", "txvlan", "off", check=False)
        self.listeners = [(listener(f"{rd}/s{i}.ctl"), listener(f"{rd}/t{i}.ctl")) for i in range(pairs)]
        db = f"unix:{rd}/db.sock"
        sh("ovsdb-tool", "create", f"{rd}/conf.db", "/usr/share/openvswitch/vswitch.ovsschema")
        self.spawn(["ovsdb-server", f"{rd}/conf.db", f"--remote=p{db}", f"--unixctl={rd}/ovsdb.ctl"], env, "ovsdb.log")
        self.await_path(f"{rd}/db.sock")
        vsctl = ["ovs-vsctl", f"--db={db}", "--no-wait"]
        sh(*vsctl, "init")
        sides = ["s", "t"] if args.target == "ovs" else ["s"]
        for i in range(pairs):
            for side in sides:
                br = f"br-{side}{i}"
                dpid = f"{(1 if side == 's' else 2) * 256 + i:016x}"
                cmd = ["--", "add-br", br, "--", "set", "bridge", br, "datapath_type=netdev", "protocols=OpenFlow13", "fail_mode=secure",
                       f"other_config:datapath-id={dpid}", "other_config:disable-in-band=true"]
                for p in (1, 2, 3):
                    cmd += ["--", "add-port", br, f"{side}{i}p{p}", "--", "set", "interface", f"{side}{i}p{p}", f"ofport_request={p}"]
                cmd += ["--", "set-controller", br, f"unix:{rd}/{side}{i}.ctl", "--", "set", "controller", br, "max_backoff=1000",
                        "inactivity_probe=60000", "controller_rate_limit=1000000", "controller_burst_limit=1000000"]
                sh(*vsctl, *cmd)
        self.spawn(["ovs-vswitchd", db, "--disable-system", f"--unixctl={rd}/vswitchd.ctl", f"--pidfile={rd}/vswitchd.pid"], env, "vswitchd.log")
        if args.target != "ovs":
            cmd = [os.path.join(args.bin_dir, "ofswitchd"), "--run-dir", f"{rd}/ofs", "--log", args.log]
            for i in range(pairs):
                cmd += ["--bridge", f"br-t{i}", "--dpid", f"{512 + i:016x}", "--fail-mode", "secure"]
                for p in (1, 2, 3):
                    cmd += ["--port", f"t{i}p{p},ofport={p}"]
                cmd += ["--controller", f"unix:{rd}/t{i}.ctl"]
            os.makedirs(f"{rd}/ofs", exist_ok=True)
            self.spawn(cmd, env, "ofswitchd.log")

    def spawn(self, cmd, env, log):
        try:
            self.procs.append(subprocess.Popen(cmd, env=env, stdout=open(f"{self.args.rundir}/{log}", "wb"), stderr=subprocess.STDOUT))
        except OSError as e:
            self.stop()
            sys.exit(f"{cmd[0]}: {e.strerror}")

    @staticmethod
    def await_path(path):
        end = time.monotonic() + 10
        while not os.path.exists(path):
            if time.monotonic() > end:
                sys.exit(f"{path} did not appear")
            time.sleep(0.01)

    def died(self):
        """Which of the switches has ended, if any."""
        return next((p.args[0] for p in self.procs if p.poll() is not None), None)

    def stop(self):
        for p in reversed(self.procs):
            p.terminate()
            try:
                p.wait(5)
            except subprocess.TimeoutExpired:
                p.kill()


def worker(args, number, listeners, todo, done):
    """Serve one pair: take cases till none is left."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pair = Pair(args, number, listeners, load_osken())
    while True:
        case = todo.get()
        if case is None:
            return
        begun = time.monotonic()
        if args.deadline and begun > args.deadline:
            done.put((case.number, LEFT_OUT, 0))
            continue
        try:
            why = pair.run(case)
            # A stream that a stall of the machine disturbed is measured again; a fault of the switch fails every time.
            for _ in range(args.again if case.timed else 0):
                why = why and pair.run(case)
        except Exception as e:  # a fault of the harness must not stop the others
            why = f"harness: {type(e).__name__}: {e}"
        done.put((case.number, why, time.monotonic() - begun))


def run_phase(args, bed, cases, lanes, results, label, total):
    """Run cases on `lanes` pairs at once."""
    if not cases:
        return
    todo, done = multiprocessing.Queue(), multiprocessing.Queue()
    for c in cases:
        todo.put(c)
    procs = []
    for i in range(min(lanes, len(bed.listeners))):
        todo.put(None)
        p = multiprocessing.Process(target=worker, args=(args, i, bed.listeners[i], todo, done))
        p.start()
        procs.append(p)
    by_number = {c.number: c for c in cases}
    for _ in cases:
        while True:
            try:
                number, why, took = done.get(timeout=5)
                break
            except Exception:
                dead = bed.died()
                if dead:
                    for p in procs:
                        p.terminate()
                    sys.exit(f"{dead} ended by itself; see its log in {args.rundir} (--keep-logs keeps it)")
        if why == LEFT_OUT:  # --resume will run it
            continue
        results[number] = why
        c = by_number[number]
        ok = sum(1 for w in results.values() if w is None)
        if why is not None and args.verbose:
            print(f"\r\033[K  FAIL {c.file}: {c.description}\n       {why}", flush=True)
        if sys.stdout.isatty() or len(results) % 50 == 0:
            end = "" if sys.stdout.isatty() else "\n"
            print(f"\r\033[K{label}: {len(results)}/{total} run, {ok} passed", end=end, flush=True)
    for p in procs:
        p.join()
    if sys.stdout.isatty():
        print()


def select_cases(args, cases):
    """The cases asked for: by pattern, and with --quarter every fourth of each file (a timed one of each kind, the slowest left out)."""
    if args.filter:
        rx = re.compile(args.filter)
        cases = [c for c in cases if rx.search(f"{c.category}/{c.file}: {c.description}")]
    if args.quarter:
        picked, seen = [], collections.Counter()
        for c in cases:
            if c.timed:
                if seen[c.file] == 0 and c.pps <= 2000:
                    picked.append(c)
            elif seen[c.file] % 4 == 0:
                picked.append(c)
            seen[c.file] += 1
        cases = picked
    if args.no_timed:
        cases = [c for c in cases if not c.timed]
    return cases


def name_of(case):
    return f"{case.number} {case.category}/{case.file}: {case.description}"


def binary_id(args):
    """What was judged: reports of different programs are never merged."""
    if args.target == "ovs":
        return "ovs"
    with open(os.path.join(args.bin_dir, "ofswitchd"), "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()[:16]


def resume(args, cases):
    """Judgements of an earlier part of this run, by number of the case, and the seconds it took."""
    if not args.resume or not os.path.exists(args.report):
        return {}, 0.0
    with open(args.report) as f:
        before = json.load(f)
    if before.get("binary") != binary_id(args) or before["stock"] != args.stock or before.get("duration") != args.duration:
        sys.exit(f"conformance: {args.report} is of another program or another way of judging; remove it first")
    judged = before.get("judged", {})
    return {c.number: judged[name_of(c)] for c in cases if judged.get(name_of(c), "again") is None}, before["seconds"]


def report(args, cases, results, seconds):
    wanted, cases = len(cases), [c for c in cases if c.number in results]
    rows = collections.OrderedDict((cat, [0, 0]) for cat in CATEGORIES)
    for c in cases:
        rows[c.category][1] += 1
        rows[c.category][0] += results[c.number] is None
    passed = sum(r[0] for r in rows.values())
    print(f"\n{args.target}{' (stock tester)' if args.stock else ''}: {passed} of {len(cases)} in {seconds:.0f} s")
    for cat, (ok, n) in rows.items():
        if n:
            print(f"  {cat:8} {ok:4} of {n}")
    if args.report:
        data = {"target": args.target, "stock": args.stock, "seconds": round(seconds, 1), "passed": passed, "cases": len(cases),
                "binary": binary_id(args), "duration": args.duration,
                "categories": {k: v for k, v in rows.items()},
                "failed": [{"case": f"{c.file}: {c.description}", "why": results[c.number][:160]} for c in cases if results[c.number] is not None],
                "judged": {name_of(c): results[c.number] for c in cases}}
        with open(args.report, "w") as f:
            json.dump(data, f, indent=1)
    if len(cases) < wanted:
        print(f"{wanted - len(cases)} cases are left: the same command with --resume runs them")
    return passed == wanted


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--target", choices=("ofswitch", "ovs"), default="ofswitch")
    ap.add_argument("--bin-dir", default=os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "release"))
    ap.add_argument("--stock", action="store_true", help="judge as the stock tester does, faults included")
    ap.add_argument("--filter", help="only cases whose `category/file: description` matches this regular expression")
    ap.add_argument("--quarter", action="store_true", help="a representative quarter (CI)")
    ap.add_argument("--no-timed", action="store_true", help="leave out the cases that stream packets for 30 s")
    ap.add_argument("--duration", type=float, help="seconds per timed case instead of the suite's 30")
    ap.add_argument("--pairs", type=int, default=6, help="pairs of bridges side by side")
    ap.add_argument("--again", type=int, default=0, help="how often a timed case that failed is run again")
    ap.add_argument("--report", help="write the result as JSON")
    ap.add_argument("--resume", action="store_true", help="go on with the run of --report: what passed there is not run again")
    ap.add_argument("--budget", type=float, help="begin no case after so many seconds; --resume does the rest")
    ap.add_argument("--log", default="warn", help="the target's log level")
    ap.add_argument("--expect", type=int, help="exit 0 if at least that many pass")
    ap.add_argument("--counters", action="store_true", help="say where a lost packet was lost")
    ap.add_argument("--keep-logs", action="store_true")
    ap.add_argument("-v", "--verbose", action="store_true", help="print failures as they come")
    args = ap.parse_args()

    if os.geteuid():
        sys.exit("conformance: network namespaces need root; run it with sudo")
    if os.environ.get("OFSWITCH_CONFORMANCE_NS") != str(os.getppid()):
        # `unshare` replaces itself by python, so the namespace ends with this process.
        os.environ["OFSWITCH_CONFORMANCE_NS"] = str(os.getppid())
        os.execvp("unshare", ["unshare", "--net", sys.executable, os.path.abspath(__file__)] + sys.argv[1:])
    for tool in ("ovs-vswitchd", "ovsdb-server", "ethtool", "ip"):
        if not shutil.which(tool):
            sys.exit(f"conformance: {tool} is missing; run `make deps`")
    try:
        osken = load_osken()
    except ImportError as e:
        sys.exit(f"conformance: {e}; run it as `make conformance`, which prepares os-ken")
    if args.target != "ovs" and not os.access(os.path.join(args.bin_dir, "ofswitchd"), os.X_OK):
        sys.exit(f"conformance: no ofswitchd in {args.bin_dir}; run `make build`")

    # Interfaces made later, the bridges' own among them, must not speak IPv6 by themselves.
    with open("/proc/sys/net/ipv6/conf/default/disable_ipv6", "w") as f:
        f.write("1")
    sh("ip", "link", "set", "lo", "up")
    args.rundir = tempfile.mkdtemp(prefix="ofc-")
    cases = select_cases(args, load_cases(osken[3]))
    results, seconds = resume(args, cases)
    left = [c for c in cases if c.number not in results]
    quick = [c for c in left if not c.timed]
    slow = sorted((c for c in left if c.timed and c.pps <= 2000), key=lambda c: -c.pps)
    heavy = [c for c in left if c.timed and c.pps > 2000]
    bed, begun, ok = None, time.monotonic(), False
    args.deadline = begun + args.budget if args.budget else None
    try:
        bed = Bed(args, max(1, args.pairs))
        run_phase(args, bed, quick, args.pairs, results, "single packets", len(cases))
        run_phase(args, bed, slow, args.pairs, results, "streams", len(cases))
        run_phase(args, bed, heavy, 1, results, "fast streams", len(cases))
        ok = report(args, cases, results, seconds + time.monotonic() - begun)
        if args.expect is not None:
            ok = sum(1 for w in results.values() if w is None) >= args.expect
    except KeyboardInterrupt:
        print("\ninterrupted")
    finally:
        if bed:
            bed.stop()
        if args.keep_logs:
            print(f"logs in {args.rundir}")
        else:
            shutil.rmtree(args.rundir, ignore_errors=True)
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
