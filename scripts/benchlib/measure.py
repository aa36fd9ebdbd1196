"""One cell: start everybody, check that each does the right thing, warm up, then windows in turn while the others are out of the way."""

import os
import re
import statistics
import time

from switches import sh

from .contestants import Ours, OvsDpdk, Testpmd, hugepages, shares
from .frames import Seen
from .ofclient import Client

SETTLE = 0.3


class Wrong(Exception):
    """A switch did not do what the rules say."""


def classes(cell, who):
    out = {}
    for w in who:
        out[w] = {"testpmd": Testpmd, "ovs": OvsDpdk, "ofswitch": Ours}[w]
    if cell.isa and "ofswitch" in who:
        out["avx2"] = lambda c, d: Ours(c, d, "avx2")
        out["scalar"] = lambda c, d: Ours(c, d, "scalar")
    return out


def rate(d, seconds):
    """Packets a second of the forwarding thread's time: what others took of its core meanwhile is not counted, and if it was much, once more."""
    for _ in range(4):
        a, ca, ta = d.taken(), d.on_cpu(), time.monotonic()
        time.sleep(seconds)
        b, cb, tb = d.taken(), d.on_cpu(), time.monotonic()
        share = (cb - ca) / (tb - ta)
        if share > 0.8:
            break
    return (b - a) / (tb - ta) / min(max(share, 0.05), 1.0)


def load(d, cell):
    for g in cell.groups:
        d.ovs_ofctl("add-group", g)
    path = f"{d.rundir}/flows.txt"
    with open(path, "w") as f:
        f.write("\n".join(cell.rules()) + "\n")
    d.ovs_ofctl("--bundle", "add-flows", path)


def verify(d, cell):
    """Offers 20,000 packets at leisure: what comes out is counted, and 100 of it are looked at."""
    source, sink = d.dev.pages[1], d.dev.pages[2]
    source.rate(cell.check_rate)
    sink.sample(100, 17)
    source.pause(False)
    end = time.monotonic() + 20000 / cell.check_rate + 4
    while source.rx() < 20000 and time.monotonic() < end:
        time.sleep(0.05)
    source.pause()
    time.sleep(0.3)
    n, out = source.rx(), sink.tx()
    if n < 2000:
        raise Wrong(f"only {n} packets were taken of 20,000 offered at {cell.check_rate:,} a second")
    if cell.check_all:
        let = cell.check_all()
        want = sum(let[i % len(let)] for i in range(n))
    else:
        want = n
    if out != want:
        raise Wrong(f"of {n} packets {out} came out, {want} should have")
    frames = sink.samples()
    if len(frames) < 50:
        raise Wrong(f"only {len(frames)} frames could be sampled")
    for b in frames:
        fault = cell.check(Seen(b))
        if fault:
            raise Wrong(f"{fault}, in frame {b.hex()}")
    sink.sample(0)
    source.rate(0)
    return f"{n:,} in, {out:,} out as they should; {len(frames)} frames right"


def run(cell, who, workdir, rounds, seconds, say, tune=True):
    """A dictionary of all that was measured in this cell."""
    got, live, makers = {"cell": cell.key, "seconds": seconds, "windows": {}, "checked": {}, "hits": {}, "settings": {}, "extra": {}}, {}, classes(cell, who)
    if cell.kind != "rate":
        makers.pop("testpmd", None)
    hugepages((900 if cell.stock else 300) * len(makers))
    try:
        for w, make in makers.items():
            say(f"{w}: start")
            live[w] = d = make(cell, workdir)
            if w != "testpmd":
                load(d, cell)
                if not cell.stock:
                    say(f"{w}: check")
                    got["checked"][w] = verify(d, cell)
                elif d.sink_packets() == 0:
                    raise Wrong(f"{w}: nothing came out")
            if d.dev.pages:
                d.dev.pages[1].pause(False)
            say(f"{w}: warm up")
            time.sleep(cell.warm if w != "testpmd" else 0.5)
            if w == "ovs" and tune and cell.tune:
                say("ovs: find its best settings")
                got["settings"]["ovs"], got["extra"]["tried"] = d.tune(lambda s: rate(d, s))
            d.freeze(True)
        {"rate": rates, "kept": kept, "latency": latency}[cell.kind](cell, live, got, rounds, seconds, say)
    finally:
        for d in live.values():
            d.stop()
    return got


def profile(cell, workdir, say, who="ofswitch"):
    """Where a switch's forwarding core spends its time in this cell: [(per cent, symbol)], by perf's clock samples (a VM has no counters)."""
    d, data = classes(cell, [who])[who](cell, workdir), os.path.join(workdir, "perf")
    try:
        load(d, cell)
        for page in d.dev.pages.values():
            page.pause(False)
        say("warm up")
        time.sleep(cell.warm)
        say("perf")
        sh("perf", "record", "-q", "-e", "cpu-clock", "-F", "4000", "-t", str(d.forwarding()), "-o", data, "--", "sleep", "3")
    finally:
        d.stop()
    text = sh("perf", "report", "-i", data, "--stdio", "--no-children", "--sort", "symbol", "--percent-limit", "1")
    return [(float(p), name) for p, name in re.findall(r"^ +([\d.]+)%  \[[.k]\] (.+?)(?:  .*)?$", text, re.M)]


def settle(d, cell):
    """Until its caches are full again: no more than one upcall in a thousand packets."""
    time.sleep(SETTLE)
    for _ in range(0 if cell.key == "new" else 10):
        before = d.rates()
        time.sleep(0.3)
        if shares(before, d.rates()).get("upcall", 0) < 0.001:
            break


def rates(cell, live, got, rounds, seconds, say):
    for r in range(rounds):
        for w, d in live.items():
            say(f"{w}: window {r + 1}/{rounds}")
            d.freeze(False)
            settle(d, cell)
            before = d.rates()
            got["windows"].setdefault(w, []).append(rate(d, seconds))
            if w != "testpmd":
                got["hits"][w] = shares(before, d.rates())
            d.freeze(True)


def kept(cell, live, got, rounds, seconds, say):
    """Port 1's traffic with and without what port 3 offers."""
    for r in range(rounds):
        for w, d in live.items():
            say(f"{w}: window {r + 1}/{rounds}")
            storm = d.dev.pages[3]
            d.freeze(False)
            time.sleep(SETTLE)
            alone = rate(d, seconds / 2)
            storm.pause(False)
            time.sleep(cell.warm / 2 if r else cell.warm)
            n, t = storm.rx(), time.monotonic()
            beside = rate(d, seconds)
            offered = (storm.rx() - n) / (time.monotonic() - t)
            if r == rounds - 1:
                got["extra"].setdefault("masks", {})[w] = d.masks()
            storm.pause()
            time.sleep(0.3)
            alone = (alone + rate(d, seconds / 2)) / 2
            got["windows"].setdefault(w, []).append(beside / alone)
            got["extra"].setdefault("alone", {}).setdefault(w, []).append(alone)
            got["extra"].setdefault("taken", {}).setdefault(w, []).append(offered)
            d.freeze(True)


PROBE = [(0, (3).to_bytes(4, "big")), (5, b"\x08\x00"), (10, b"\x11"), (11, bytes([9, 0, 0, 1]))]


def latency(cell, live, got, rounds, seconds, say):
    """How long after it was sent a flow-mod decides the first packet of a flow of 1M packets/s, and how long other traffic paused meanwhile."""
    hz = tsc_hz()
    for w, d in live.items():
        d.freeze(False)
        d.dev.pages[3].pause(False)
        if w == "ofswitch":
            d.ofctl("set-flow-limit", "1000000")  # as OVS's is set: its default is just what the cell installs, and more would put each other out
        time.sleep(cell.warm / 2)
        got["extra"].setdefault("megaflows", {})[w] = d.megaflows()
        c = Client(f"{d.rundir}/br0.mgmt")
        new, old, base = d.dev.pages[4], d.dev.pages[2], d.dev.pages[2]
        lists = {k: [] for k in ("effective_ms", "barrier_ms", "stall_ms", "quiet_stall_ms", "late_packets")}
        for r in range(rounds * 4):
            say(f"{w}: flow-mod {r + 1}/{rounds * 4}")
            base.watch()
            time.sleep(0.15)
            lists["quiet_stall_ms"].append(base.longest_gap() / hz * 1e3)
            for command, out in ((0, 4), (3, None)):
                sink = new if command == 0 else old
                base.watch()
                if command == 0:
                    new.arm()
                try:
                    t0, t1 = c.barrier(c.flow_mod(command, 500, PROBE, out))
                except TimeoutError:
                    raise Wrong(f"{w}: no answer to a barrier for 20 s, with {got['extra']['megaflows'][w]} megaflows") from None
                if command == 0:
                    end = time.monotonic() + 5
                    while not sink.first_ns() and time.monotonic() < end:
                        time.sleep(0.001)
                    lists["effective_ms"].append((sink.first_ns() - t0) / 1e6 if sink.first_ns() else 5000.0)
                else:
                    a = new.tx()
                    time.sleep(0.05)
                    lists["late_packets"].append(new.tx() - a)
                time.sleep(0.1)
                lists["barrier_ms"].append((t1 - t0) / 1e6)
                lists["stall_ms"].append(base.longest_gap() / hz * 1e3)
        base.watch(False)
        d.dev.pages[3].pause()
        got["windows"][w] = lists["effective_ms"]
        got["extra"].setdefault("lists", {})[w] = lists
        d.freeze(True)


def tsc_hz():
    """The time-stamp counter's rate: CLOCK_MONOTONIC is derived from it, the kernel's log or cpuinfo tell it."""
    with open("/proc/cpuinfo") as f:
        return float(re.search(r"cpu MHz\s*:\s*([\d.]+)", f.read()).group(1)) * 1e6


def middle(values):
    return statistics.median(values) if values else None
