"""Start and stop the switches that the comparisons compare, in network namespaces of their own; used by the other scripts here."""

import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BIN_DIR = os.environ.get("BIN_DIR") or os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "release")


def need_root():
    """Root, or a word on why; and SIGTERM ends a script in order, so that it cleans up."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))
    if os.geteuid():
        sys.exit("network namespaces need root; run it with sudo")


def sh(*cmd, check=True, **kw):
    p = subprocess.run([str(c) for c in cmd], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kw)
    if check and p.returncode:
        raise SystemExit(f"{' '.join(map(str, cmd))}: {p.stdout.strip()}")
    return p.stdout


def wait(what, check, timeout=15):
    end = time.monotonic() + timeout
    while not check():
        if time.monotonic() > end:
            raise SystemExit(f"waited {timeout} s in vain for {what}")
        time.sleep(0.02)


class Netns:
    """A named network namespace with loopback up."""

    def __init__(self, name):
        self.name = name
        subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)
        sh("ip", "netns", "add", name)
        sh("ip", "-n", name, "link", "set", "lo", "up")

    def sh(self, *cmd, **kw):
        return sh("ip", "netns", "exec", self.name, *cmd, **kw)

    def popen(self, cmd, **kw):
        return subprocess.Popen(["ip", "netns", "exec", self.name] + [str(c) for c in cmd], **kw)

    def delete(self):
        subprocess.run(["ip", "netns", "del", self.name], stderr=subprocess.DEVNULL)


def cable(a, dev_a, b, dev_b):
    sh("ip", "-n", a.name, "link", "add", dev_a, "type", "veth", "peer", "name", dev_b, "netns", b.name)
    for ns, dev in ((a, dev_a), (b, dev_b)):
        ns.sh("sysctl", "-qw", f"net.ipv6.conf.{dev}.disable_ipv6=1")
        ns.sh("ip", "link", "set", dev, "up")


class Daemon:
    """What both switches share: a run directory, processes, memory, the management socket."""

    name, label = "", ""

    def __init__(self, ns):
        self.ns, self.procs = ns, []
        self.rundir = tempfile.mkdtemp(prefix=f"cmp-{self.name}-")
        self.pid = 0

    def mgmt(self, bridge="br0"):
        return f"unix:{self.rundir}/{bridge}.mgmt"

    def ovs_ofctl(self, *args, **kw):
        """`ovs-ofctl -O OpenFlow13 COMMAND br0 ...`, options first."""
        opts = [a for a in args if a.startswith("--")]
        rest = [a for a in args if not a.startswith("--")]
        return sh("ovs-ofctl", "-O", "OpenFlow13", *opts, rest[0], self.mgmt(), *rest[1:], **kw)

    def rss(self):
        """Resident memory in bytes."""
        with open(f"/proc/{self.pid}/status") as f:
            return int(next(line.split()[1] for line in f if line.startswith("VmRSS:"))) * 1024

    def cpu(self):
        """Seconds of processor that it has used, all threads (the clock of clock_getcpuclockid(3))."""
        return time.clock_gettime(~self.pid << 3 | 2)

    def stop(self):
        for p in reversed(self.procs):
            p.terminate()
            try:
                p.wait(10)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        shutil.rmtree(self.rundir, ignore_errors=True)


class Ovs(Daemon):
    """Open vSwitch from Debian with its userspace datapath, a database and directory of its own."""

    name, label = "ovs", "Open vSwitch (netdev)"

    def __init__(self, ns, ports, settings=()):
        super().__init__(ns)
        rd = self.rundir
        env = dict(os.environ, OVS_RUNDIR=rd, OVS_DBDIR=rd, OVS_LOGDIR=rd)
        db = f"unix:{rd}/db.sock"
        sh("ovsdb-tool", "create", f"{rd}/conf.db", "/usr/share/openvswitch/vswitch.ovsschema")
        log = open(f"{rd}/log", "wb")
        self.procs.append(ns.popen(["ovsdb-server", f"{rd}/conf.db", f"--remote=p{db}", f"--unixctl={rd}/ovsdb.ctl"], env=env, stdout=log, stderr=log))
        wait("ovsdb-server", lambda: os.path.exists(f"{rd}/db.sock"))
        vsctl = ["ovs-vsctl", f"--db={db}", "--no-wait"]
        sh(*vsctl, "init")
        cmd = ["--", "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev", "protocols=OpenFlow13", "fail_mode=secure"]
        for i, p in enumerate(ports, 1):
            cmd += ["--", "add-port", "br0", p, "--", "set", "interface", p, f"ofport_request={i}"]
        sh(*vsctl, *cmd, *settings)
        vs = ns.popen(["ovs-vswitchd", db, "--disable-system", f"--unixctl={rd}/vswitchd.ctl", f"--pidfile={rd}/pid"], env=env, stdout=log, stderr=log)
        self.procs.append(vs)
        self.pid = vs.pid
        wait("ovs-vswitchd", lambda: os.path.exists(f"{rd}/br0.mgmt"))
        time.sleep(1)

    @staticmethod
    def version():
        return sh("ovs-vswitchd", "--version").splitlines()[0].split(") ")[-1]


class Ofswitch(Daemon):
    """Ours."""

    name, label = "ofswitch", "ofswitch"

    def __init__(self, ns, ports, args=()):
        super().__init__(ns)
        exe = os.path.join(BIN_DIR, "ofswitchd")
        if not os.access(exe, os.X_OK):
            sys.exit(f"{exe} is missing; get it with: make build")
        cmd = [exe, "--run-dir", self.rundir, "--bridge", "br0", "--fail-mode", "secure"]
        for i, p in enumerate(ports, 1):
            cmd += ["--port", f"{p},ofport={i}"]
        out = open(f"{self.rundir}/out", "w+b")
        p = ns.popen(cmd + list(args), stdout=out, stderr=out)
        self.procs.append(p)
        self.pid = p.pid

        def ready():
            if p.poll() is not None:
                sys.exit("ofswitchd ended: " + open(f"{self.rundir}/out").read())
            return any(line.startswith("ready") for line in open(f"{self.rundir}/out", errors="replace"))

        wait("ofswitchd's ready line", ready)

    def ofctl(self, *args, **kw):
        return sh(os.path.join(BIN_DIR, "ofctl"), "--run-dir", self.rundir, *args, **kw)

    @staticmethod
    def version():
        return "commit " + sh("git", "-C", ROOT, "describe", "--always", "--dirty").strip()


def spread(values):
    """Median and the range around it."""
    return statistics.median(values), min(values), max(values)


def machine():
    """One line on the machine."""
    with open("/proc/cpuinfo") as f:
        info = f.read()
    model = next((line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")), "unknown processor")
    return f"{os.cpu_count()} processors ({model}), Linux {os.uname().release.split('-')[0]}"


def progress(text):
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K" + text)
    else:
        sys.stderr.write(text + "\n")
    sys.stderr.flush()


def save(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)
    progress(f"written: {os.path.relpath(path, ROOT)}\n")


__all__ = [n for n in dir() if not n.startswith("_")] + ["json", "socket"]
