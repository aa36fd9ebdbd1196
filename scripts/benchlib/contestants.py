"""OVS-DPDK, ofswitch and testpmd on the same devices: start, stop, freeze while another is measured, ask for hit rates."""

import json
import os
import re
import signal
import subprocess
import sys
import time

from switches import ROOT, BIN_DIR, Daemon, Ofswitch, sh, wait

from .gen import Page

OVS_DPDK = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"
PMD_CORE, REST_CORE = 1, 0
REST = ["taskset", "-c", str(REST_CORE)]


def generator():
    """Our generator, built on first use."""
    return sh(f"{ROOT}/scripts/genpmd/build", os.environ.get("GENPMD_DIR", f"{ROOT}/target/genpmd")).strip().splitlines()[-1]


class Host:
    """A nameless network namespace for each: their bridges' own devices have the same names."""

    @staticmethod
    def popen(cmd, **kw):
        return subprocess.Popen(["unshare", "-n"] + [str(c) for c in cmd], **kw)


class Devices:
    """The devices of one contestant in one cell: source and sink, perhaps a second pair; each with its page."""

    def __init__(self, cell, who, workdir):
        self.stock, src = cell.stock, cell.source(workdir)
        if cell.stock:
            self.pages, self.args = {}, {1: f"net_pcap0,rx_pcap={src},infinite_rx=1", 2: "net_null0,no-rx=1"}
            self.plugin, self.huge_mb = [], 768
            return
        wanted = {1: src + ",size=60", 2: "rx=0"}
        if cell.second:
            wanted |= {3: cell.second + ",size=60", 4: "rx=0"}
        self.pages = {p: Page(f"/dev/shm/bench-{os.getpid()}-{who}-{p}") for p in wanted}
        self.args = {p: f"net_gen{p},{a},ctl={self.pages[p].path}" for p, a in wanted.items()}
        self.plugin, self.huge_mb = ["-d", generator()], 256

    def close(self):
        for p in self.pages.values():
            p.close()


class Contestant:
    """What all have in common. `taken` and `sent` count packets that went in and came out."""

    halted, tid = False, None

    def forwarding(self):
        """The thread that forwards: of those pinned to the forwarding core the one that works most now. (What worked most since the start is, just after
        it, the thread that started everything.)"""
        if self.tid is None:
            tasks = f"/proc/{self.pid}/task"
            pinned = [t for t in os.listdir(tasks) if os.sched_getaffinity(int(t)) == {PMD_CORE}]
            if not pinned:
                sys.exit(f"bench: no thread of {self.label} is pinned to core {PMD_CORE}")

            def ran(t):
                with open(f"{tasks}/{t}/schedstat") as f:
                    return int(f.read().split()[0])

            before = {t: ran(t) for t in pinned}
            time.sleep(0.1)
            self.tid = int(max(pinned, key=lambda t: ran(t) - before[t]))
        return self.tid

    def freeze(self, on):
        """Out of the way while another is measured. With our generator its source pauses and its forwarding thread polls on the other core when
        nobody else wants that; its other threads go on (a stopped OVS would think its revalidation too slow, and throw megaflows away). Without,
        the process is stopped."""
        if on == self.halted:
            return
        if not self.dev.pages:
            os.kill(self.pid, signal.SIGSTOP if on else signal.SIGCONT)
        else:
            self.dev.pages[1].pause(on)
            os.sched_setscheduler(self.forwarding(), os.SCHED_IDLE if on else os.SCHED_OTHER, os.sched_param(0))
            os.sched_setaffinity(self.forwarding(), {REST_CORE if on else PMD_CORE})
            os.setpriority(os.PRIO_PROCESS, self.forwarding(), 0 if on else -20)
        self.halted = on

    def wake(self):
        """Before the end: a stopped process does not end. One that died already needs nothing."""
        try:
            self.freeze(False)
        except OSError:
            pass

    def on_cpu(self):
        """Seconds that the forwarding thread has run so far."""
        with open(f"/proc/{self.pid}/task/{self.forwarding()}/schedstat") as f:
            return int(f.read().split()[0]) / 1e9

    def sent(self):
        return self.dev.pages[2].tx() if self.dev.pages else self.sink_packets()

    def taken(self):
        return self.dev.pages[1].rx() if self.dev.pages else self.sink_packets()

    def rates(self):
        """Hits per cache level, as {level: packets}; cumulative."""
        return {}


def shares(before, after):
    d = {k: after.get(k, 0) - before.get(k, 0) for k in after}
    total = sum(d.values())
    return {k: v / total for k, v in d.items()} if total > 0 else {}


class OvsDpdk(Daemon, Contestant):
    """Debian's OVS-DPDK as its manual says to set it up for speed."""

    name, label = "ovs", "OVS-DPDK"
    # emc-insert-inv-prob, smc-enable: which is best depends on the cell; all are tried, the best is kept.
    SETTINGS = ((100, False), (1, False), (0, False), (0, True), (100, True))

    def __init__(self, cell, workdir):
        super().__init__(Host)
        self.dev = dev = Devices(cell, self.name, workdir)
        rd = self.rundir
        self.env = env = dict(os.environ, OVS_RUNDIR=rd, OVS_DBDIR=rd, OVS_LOGDIR=rd, XDG_RUNTIME_DIR=rd)
        db = f"unix:{rd}/db.sock"
        sh("ovsdb-tool", "create", f"{rd}/conf.db", "/usr/share/openvswitch/vswitch.ovsschema")
        log = open(f"{rd}/log", "wb")
        self.procs.append(subprocess.Popen(REST + ["ovsdb-server", f"{rd}/conf.db", f"--remote=p{db}", f"--unixctl={rd}/o.ctl"], env=env, stdout=log, stderr=log))
        self.vsctl = ["ovs-vsctl", f"--db={db}", "--no-wait"]
        wait("ovsdb-server", lambda: subprocess.run([*self.vsctl, "init"], stderr=subprocess.DEVNULL).returncode == 0)
        extra = " ".join(["--no-pci --single-file-segments", *dev.plugin])
        sh(*self.vsctl, "set", "open_vswitch", ".", "other_config:dpdk-init=true", f"other_config:dpdk-extra={extra}", f"other_config:pmd-cpu-mask={1 << PMD_CORE:x}",
           f"other_config:dpdk-lcore-mask={1 << REST_CORE:x}", f"other_config:dpdk-socket-mem={dev.huge_mb}", "other_config:flow-limit=1000000",
           "other_config:n-revalidator-threads=1", "other_config:max-idle=100000", "other_config:min-revalidate-pps=0", "other_config:pmd-auto-lb=false")
        ports = []
        for n, args in dev.args.items():
            ports += ["--", "add-port", "br0", f"p{n}", "--", "set", "interface", f"p{n}", "type=dpdk", f"options:dpdk-devargs={args}", f"ofport_request={n}"]
        sh(*self.vsctl, "--", "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev", "protocols=OpenFlow13", "fail_mode=secure", *ports)
        p = Host.popen([OVS_DPDK, db, f"--unixctl={rd}/v.ctl", f"--pidfile={rd}/pid"], env=env, stdout=log, stderr=log)
        self.procs.append(p)
        self.pid = p.pid

        def up():
            if p.poll() is not None:
                why = [line for line in open(f"{rd}/log", errors="replace").read().splitlines() if "|ERR|" in line or "FATAL" in line]
                self.stop()
                there = os.path.exists(OVS_DPDK)
                sys.exit("OVS-DPDK ended: " + "\n".join(why) if there else f"{OVS_DPDK} is not there: scripts/deps --bench")
            return os.path.exists(f"{rd}/br0.mgmt") and f"(p{max(dev.args)})" in self.ovs_ofctl("show", check=False)

        wait("ovs-vswitchd-dpdk", up, 60)

    @staticmethod
    def version():
        return sh(OVS_DPDK, "--version").splitlines()[0].split(") ")[-1]

    def appctl(self, *args):
        return sh("ovs-appctl", "-t", f"{self.rundir}/v.ctl", *args, check=False)

    def set_caches(self, prob, smc):
        sh(*self.vsctl, "set", "open_vswitch", ".", f"other_config:emc-insert-inv-prob={prob}", f"other_config:smc-enable={str(smc).lower()}")

    def tune(self, measure):
        """Keep the settings of its caches that are fastest in this cell: which, and the packets a second with each."""
        best, seen = None, {}
        for prob, smc in self.SETTINGS:
            self.set_caches(prob, smc)
            time.sleep(0.8)
            seen[self.said(prob, smc)] = got = measure(0.4)
            if best is None or got > best[0]:
                best = got, prob, smc
        self.set_caches(*best[1:])
        time.sleep(1)
        return self.said(*best[1:]), seen

    @staticmethod
    def said(prob, smc):
        return f"emc-insert-inv-prob={prob}" + (", SMC" if smc else "")

    def sink_packets(self):
        return int(re.search(r"tx pkts=(\d+)", self.ovs_ofctl("dump-ports", "2")).group(1))

    def rates(self):
        text = self.appctl("dpif-netdev/pmd-stats-show", "-pmd", str(PMD_CORE))
        get = lambda what: int(re.search(what + r": (\d+)", text).group(1)) if re.search(what + r": (\d+)", text) else 0  # noqa: E731
        return {"EMC": get("emc hits"), "SMC": get("smc hits"), "megaflow": get("megaflow hits"), "simple": get("simple match hits"), "upcall": get("miss with success upcall") + get("miss with failed upcall")}

    def masks(self):
        """How many different masks its megaflows have."""
        out = self.appctl("dpctl/dump-flows", "-m")
        return len({re.sub(r"(?<=[=(,])[0-9a-f.:x]+(?=/)", "", re.sub(r"^ufid:\S+ |, packets:.*", "", line)) for line in out.splitlines() if "recirc_id" in line})

    def megaflows(self):
        return self.appctl("dpctl/dump-flows", "filter=in_port=p1").count("recirc_id")

    def stop(self):
        self.wake()
        super().stop()
        self.dev.close()


class Ours(Ofswitch, Contestant):
    """Ours on the same devices."""

    name, label = "ofswitch", "ofswitch"

    def __init__(self, cell, workdir, isa=None):
        self.dev = dev = Devices(cell, f"{self.name}-{isa or 'best'}", workdir)
        args = ["--dpdk", " ".join(["--no-pci --in-memory", *dev.plugin]), "--pmd-cores", str(PMD_CORE)]
        for n, a in dev.args.items():
            args += ["--port", f"p{n},ofport={n},type=dpdk,devargs={a}"]
        super().__init__(Host, [], args + (["--isa", isa] if isa else []))
        # Everything but the forwarding thread stays off its core (DPDK puts threads of its own there).
        for tid in os.listdir(f"/proc/{self.pid}/task"):
            try:
                if int(tid) != self.forwarding():
                    os.sched_setaffinity(int(tid), {REST_CORE})
            except OSError:
                pass

    def pmd(self):
        """What its forwarding thread counted; nothing if the switch is too busy to say."""
        for _ in range(3):
            out = self.ofctl("--json", "pmd-stats-show", check=False)
            try:
                return next((w for w in workers(json.loads(out)) if w.get("core") == PMD_CORE), {})
            except ValueError:
                time.sleep(0.5)
        sys.stderr.write(f"ofctl pmd-stats-show: {out.strip()}\n")
        return {}

    def sink_packets(self):
        return int(re.search(r"tx pkts=(\d+)", self.ovs_ofctl("dump-ports", "2")).group(1))

    def rates(self):
        c = self.pmd().get("counters", {})
        get = lambda k: int(c.get(k, 0))  # noqa: E731
        return {"EMC": get("emc_hits"), "megaflow": get("megaflow_hits"), "upcall": get("misses")}

    def masks(self):
        return int(self.pmd().get("counters", {}).get("subtables", 0))

    def megaflows(self):
        return int(self.pmd().get("counters", {}).get("megaflows", 0))

    def stop(self):
        self.wake()
        super().stop()
        self.dev.close()


def workers(v):
    """The objects with a core number in whatever shape the answer has."""
    if isinstance(v, dict):
        if "core" in v:
            yield v
        for x in v.values():
            yield from workers(x)
    elif isinstance(v, list):
        for x in v:
            yield from workers(x)


class Testpmd(Contestant):
    """The floor: testpmd's `io` loop, which looks at no packet."""

    name, label = "testpmd", "testpmd io"

    def __init__(self, cell, workdir):
        self.dev = dev = Devices(cell, self.name, workdir)
        vdevs = [x for a in dev.args.values() for x in ("--vdev", a)]
        mbufs = 262144 if cell.stock else 32768
        args = ["--no-pci", "--in-memory", *dev.plugin, "--no-telemetry", "-l", f"{REST_CORE},{PMD_CORE}", *vdevs]
        self.p = subprocess.Popen(REST + ["stdbuf", "-oL", "dpdk-testpmd", *args, "--", "-i", "--forward-mode=io", f"--total-num-mbufs={mbufs}", "--nb-cores=1"],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1)
        self.pid = self.p.pid
        self.say("start")
        self.say("show port stats 1")
        for line in self.p.stdout:
            if "TX-packets" in line:
                return
        sys.exit("testpmd ended by itself")

    def say(self, line):
        self.p.stdin.write(line + "\n")
        self.p.stdin.flush()

    def sink_packets(self):
        self.say("show port stats 1")
        for line in self.p.stdout:
            m = re.search(r"TX-packets: (\d+)", line)
            if m:
                return int(m.group(1))
        sys.exit("testpmd ended by itself")

    def stop(self):
        self.wake()
        try:
            self.say("quit")
            self.p.stdin.close()
            self.p.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            self.p.kill()
            self.p.wait()
        self.dev.close()


def hugepages(free_mb):
    """See to it that so much is free in 2 MiB pages, never taking pages away from others."""
    path = "/proc/sys/vm/nr_hugepages"
    info = dict(re.findall(r"HugePages_(\w+):\s+(\d+)", open("/proc/meminfo").read()))
    short = free_mb // 2 - int(info["Free"])
    if short > 0:
        with open(path, "w") as f:
            f.write(str(int(info["Total"]) + short))
        info = dict(re.findall(r"HugePages_(\w+):\s+(\d+)", open("/proc/meminfo").read()))
        if int(info["Free"]) < free_mb // 2:
            sys.exit(f"bench: {free_mb} MiB of free hugepages are needed, {int(info['Free']) * 2} are there; memory is short or in pieces")
    if "hugetlbfs" not in open("/proc/mounts").read():
        os.makedirs("/dev/hugepages", exist_ok=True)
        sh("mount", "-t", "hugetlbfs", "none", "/dev/hugepages")


__all__ = ["OvsDpdk", "Ours", "Testpmd", "hugepages", "shares", "generator", "OVS_DPDK", "BIN_DIR"]
