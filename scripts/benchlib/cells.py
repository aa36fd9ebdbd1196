"""What is measured: devices, rules, goal. One entry a cell; the rest of the bench knows no cell by name.

Addresses: the generator's packets go from 10.0.0.0 onwards to 11.0.0.1 (UDP, port 1024 to 80), from MAC address 02:01:00:00:00:01 to 02:00:01:00:00:01.
Port 1 is the source and 2 the sink; cells with a second source have it at port 3 and its sink at port 4.
"""

import os
import re
from dataclasses import dataclass, field
from typing import Callable, Optional

from . import acl
from .frames import drawn, shuffled, expect, frame, ip4, mac, write_pcap, write_trace

SMAC, DMAC = 0x020100000001, 0x020001000001


@dataclass
class Cell:
    """`source(dir)` gives the device arguments of port 1; `second` those of port 3."""

    key: str
    name: str
    source: Callable
    rules: Callable
    goal: str
    kind: str = "rate"  # rate: packets a second. kept: share of port 1's traffic that remains while port 3 offers. latency: of flow-mods
    least: Optional[float] = None  # the goal as a ratio to OVS-DPDK
    net_most: Optional[float] = None  # the goal in cycles a packet above testpmd
    of_testpmd: Optional[float] = None  # the goal as a share of testpmd's rate
    of_1k: Optional[float] = None  # the goal as a share of our own rate in the cell `1k`
    groups: list = field(default_factory=list)
    second: Optional[str] = None
    check: Optional[Callable] = expect()
    check_all: Optional[Callable] = None  # (dir) -> for each record of the trace, whether it is let through
    check_rate: int = 20000  # packets a second while it is checked: all that go to translation must be within the upcalls' share of the time
    isa: bool = False  # also our AVX2 and scalar kernels
    quick: bool = False
    stock: bool = False  # net_pcap and net_null in place of the generator
    warm: float = 3.0
    tune: bool = True
    note: str = ""


def gen(args):
    return lambda _: args


def traced(make):
    """A trace file made by `make() -> frames`."""

    def source(d):
        path = os.path.join(d, "trace")
        if not os.path.exists(path):
            write_trace(path, make())
        return f"trace={path}"

    return source


def captured(flows):
    def source(d):
        path = os.path.join(d, "cell.pcap")
        if not os.path.exists(path):
            write_pcap(path, (frame(src=0x0A000000 + i % 50000, sport=1024 + i // 50000) for i in range(flows)))
        return path

    return source


L34 = ["in_port=1,udp,nw_dst=11.0.0.0/8,tp_dst=80,actions=output:2"]
PLAIN = expect(dst=0x0B000001, dport=80, ttl=64, smac=SMAC, dmac=DMAC, vlans=[])


def flows(n):
    return gen(f"flows={n},dist=uniform,dip=11.0.0.1")


# --- masks
def masks_rules(n):
    """n rules with n different masks (source prefix length by source-port mask), disjoint by destination port."""
    out = []
    for i in range(n):
        plen, bits = 27 - i % 20, 16 - i // 20
        sport = 0xFFFF << (16 - bits) & 0xFFFF
        out.append(f"priority={100 + i},in_port=1,udp,nw_src={ip4(0x0A000000, plen)}/{plen},tp_src={1024 & sport:#x}/{sport:#x},tp_dst={2000 + i},actions=output:2")
    return out


def masks_trace(n):
    """20,000 flows spread over those rules: too many for an exact-match cache of 8,192 entries, few enough for a signature cache (SMC)."""
    return traced(lambda: shuffled(frame(src=0x0A000000 + i % 32, dst=0x0B000000 + i, dport=2000 + i % n) for i in range(20000)))


def masks_million(n):
    """A million flows spread over those rules: more than any cache of whole flows holds, so that masks are visited."""
    return gen(f"flows=1000000,dist=uniform,sips=32,dip=11.0.0.0,dips=1000000,dport=2000,dports={n}")


# --- L2, L3
PAIRS = 10000
L2 = [f"in_port=1,dl_src={mac(SMAC + i)},dl_dst={mac(DMAC + i)},actions=output:2" for i in range(PAIRS)]
L3 = [f"in_port=1,ip,nw_dst={ip4(0x0B000000 + (i << 8), 24)}/24,actions=dec_ttl,set_field:02:00:00:00:00:bb->eth_src,"
      f"set_field:02:00:00:00:{i >> 8:02x}:{i & 255:02x}->eth_dst,output:2" for i in range(PAIRS)]

# --- ACL
_acl = None


def the_acl():
    global _acl
    if _acl is None:
        a = acl.Acl(10000)
        _acl = a.flows(), a.trace(30000, 1 << 17)
    return _acl


# --- eight tables: what comes without a tag gets VLAN 100, what comes with VLAN 200 loses it.
PIPELINE = ["table=0,priority=2,in_port=1,dl_vlan=200,ip,actions=pop_vlan,set_field:1->metadata,goto_table:1",
            "table=0,priority=1,in_port=1,vlan_tci=0/0x1000,ip,actions=push_vlan:0x8100,set_field:4196->vlan_vid,set_field:2->metadata,goto_table:1",
            "table=1,dl_src=02:01:00:00:00:01,actions=goto_table:2", "table=2,ip,nw_src=10.0.0.0/8,actions=goto_table:3",
            "table=3,udp,tp_dst=80,actions=set_field:46->ip_dscp,goto_table:4", "table=4,ip,nw_dst=11.0.0.0/16,actions=dec_ttl,goto_table:5",
            "table=5,ip,nw_dst=11.0.0.0/24,actions=set_field:02:00:00:00:00:aa->eth_dst,goto_table:6",
            "table=6,ip,actions=set_field:02:00:00:00:00:bb->eth_src,goto_table:7", "table=7,metadata=1,actions=group:1", "table=7,metadata=2,actions=group:1"]
PIPELINE_OUT = expect(dmac=0x0200000000AA, smac=0x0200000000BB, ttl=63, vlans=lambda s: [100] if s.sport % 2 == 0 else [])


def pipeline_frames():
    return drawn([frame(src=0x0A000000 + i, sport=1024 + i % 2, vlan=200 if i % 2 else None) for i in range(1000)], 1 << 13)


# --- new flows and attacks
# Two rules make the whole source MAC address matter (of one, OVS would match only the first bits that differ), and each new packet has another.
EXACT = [f"priority=40000,dl_src=06:00:00:00:00:{i:02x},actions=drop" for i in (1, 2)]
NEW = "flows=2147483648,new=1,dip=11.0.0.1"
# What an attacker hopes for: some allowed hosts and ports, the rest dropped. Bit by bit, each field of a dropped packet gets a mask of its own.
WHITE = ["priority=300,in_port=3,udp,tp_dst=80,actions=output:4", "priority=200,in_port=3,ip,nw_src=10.0.0.1,actions=output:4",
         "priority=100,in_port=3,ip,nw_dst=11.0.0.1,actions=output:4", "priority=1,in_port=3,actions=drop"]
TSE = "tse=1,sip=10.0.0.1,dip=11.0.0.1,dport=80"

CELLS = [
    Cell("one", "one flow, port forward", gen("dip=11.0.0.1"), lambda: ["in_port=1,actions=output:2"], "1.5x, 80 % of testpmd", least=1.5, of_testpmd=0.8, check=PLAIN, quick=True),
    Cell("1k", "1k flows, L3+L4 rule", flows(1000), lambda: L34, "2x, net 40", least=2.0, net_most=40, check=PLAIN, isa=True, quick=True),
    Cell("10k", "10k flows, L3+L4 rule", flows(10000), lambda: L34, "2.5x, net 40", least=2.5, net_most=40, check=PLAIN),
    Cell("100k", "100k flows, L3+L4 rule", flows(100000), lambda: L34, "2.5x, net 70", least=2.5, net_most=70, check=PLAIN),
    Cell("1M", "1M flows, L3+L4 rule", flows(1000000), lambda: L34, "3x", least=3.0, check=PLAIN, quick=True),
    Cell("1M-zipf", "1M flows, Zipf, L3+L4 rule", gen("flows=1000000,dist=zipf,dip=11.0.0.1"), lambda: L34, "3x", least=3.0, check=PLAIN),
    Cell("L2", "L2, 10k MAC pairs, 1M flows", gen(f"flows=1000000,dist=uniform,smacs={PAIRS},dmacs={PAIRS},dip=11.0.0.1"), lambda: L2, "3x, 0.8 of our 1k", least=3.0, of_1k=0.8,
         check=expect(ttl=64, dmac=lambda s: s.smac - SMAC + DMAC), warm=5),
    Cell("L3", "L3, 10k prefixes, TTL and MAC rewrite, 1M flows", gen(f"flows=1000000,dist=uniform,dip=11.0.0.0,dips={PAIRS},dip_step=256"), lambda: L3, "3x, 0.8 of our 1k",
         least=3.0, of_1k=0.8, check=expect(ttl=63, smac=0x0200000000BB, dmac=lambda s: 0x020000000000 | s.dst >> 8 & 0xFFFF), quick=True, warm=5),
    Cell("20m", "20 masks, 20k flows", masks_trace(20), lambda: masks_rules(20), "5x", least=5.0, check=expect(ttl=64)),
    Cell("200m", "200 masks, 20k flows", masks_trace(200), lambda: masks_rules(200), "10x", least=10.0, check=expect(ttl=64), isa=True, quick=True),
    Cell("20m-1M", "20 masks, 1M flows", masks_million(20), lambda: masks_rules(20), "5x", least=5.0, check=expect(ttl=64)),
    Cell("200m-1M", "200 masks, 1M flows", masks_million(200), lambda: masks_rules(200), "10x", least=10.0, check=expect(ttl=64), isa=True),
    Cell("acl", "ACL, 10k rules (ClassBench-like), 30k flows", traced(lambda: [f for f, _ in the_acl()[1]]), lambda: the_acl()[0], "4x", least=4.0,
         check=expect(ttl=64), check_all=lambda: [ok for _, ok in the_acl()[1]], check_rate=3000, warm=6),
    Cell("8t", "eight tables, VLAN push and pop, set-field, group; 1k flows", traced(pipeline_frames), lambda: PIPELINE, "2.5x", least=2.5,
         groups=["group_id=1,type=indirect,bucket=actions=output:2"], check=PIPELINE_OUT, quick=True),
    Cell("new", "every packet a new flow (upcalls/s)", gen(NEW), lambda: EXACT + ["in_port=1,udp,actions=output:2"], "8x", least=8.0, check=expect(ttl=64), tune=False, quick=True),
    Cell("kept", "established traffic beside 50k new flows/s on the same core", flows(1000), lambda: EXACT + L34 + ["in_port=3,udp,actions=output:4"], "90 % kept", kind="kept",
         second=NEW + ",rate=50000", check=PLAIN, tune=False),
    Cell("tse", "traffic of other ports beside crafted headers (10k packets/s)", flows(1000), lambda: L34 + WHITE, "90 % kept", kind="kept", second=TSE + ",rate=10000",
         check=PLAIN, tune=False, warm=8),
    Cell("mod", "a flow-mod with 200k megaflows", gen("flows=200000,dist=uniform,smacs=200000,dip=11.0.0.1"), lambda: EXACT + L34 + ["priority=100,in_port=3,udp,actions=output:2"],
         "1 ms, stall 1 ms", kind="latency", second="dip=12.0.0.1,sip=9.0.0.1,rate=1000000", check=expect(dst=0x0B000001, dport=80, ttl=64), tune=False, warm=10),
    Cell("one-stock", "one flow, port forward, net_pcap to net_null", captured(1), lambda: ["in_port=1,actions=output:2"], "1.5x, 80 % of testpmd", least=1.5, of_testpmd=0.8, stock=True),
    Cell("1k-stock", "1k flows, L3+L4 rule, net_pcap to net_null", captured(1000), lambda: L34, "2x, net 40", least=2.0, net_most=40, stock=True),
    Cell("100k-stock", "100k flows, L3+L4 rule, net_pcap to net_null", captured(100000), lambda: L34, "2.5x, net 70", least=2.5, net_most=70, stock=True),
]


def choose(pattern):
    return [c for c in CELLS if c.key == pattern] or [c for c in CELLS if re.search(pattern, c.name)]
