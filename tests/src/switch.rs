//! The real daemon and its clients.

use crate::netns::Netns;
use crate::wait_for;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Where `ofswitchd` and `ofctl` are: `OFSWITCH_BIN_DIR`, else beside this test binary.
pub fn bin(name: &str) -> PathBuf {
    let dir = std::env::var_os("OFSWITCH_BIN_DIR").map(PathBuf::from).unwrap_or_else(|| {
        let exe = std::env::current_exe().expect("own path");
        exe.ancestors().nth(2).expect("target directory").to_path_buf()
    });
    let path = dir.join(name);
    assert!(path.exists(), "{} is missing; build it with: cargo build -p tools", path.display());
    path
}

/// A directory of one test, removed with everything in it.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A fresh one, with a short path (Unix sockets allow 107 bytes).
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!(
            "ofe-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        ));
        std::fs::create_dir_all(&path).expect("temporary directory");
        Scratch(path)
    }

    /// The path of `name` inside.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Write a file inside, return its path.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).expect("write");
        path.to_string_lossy().into_owned()
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running `ofswitchd`.
#[derive(Debug)]
pub struct Switch {
    child: Child,
    run_dir: PathBuf,
    log: PathBuf,
    ready: String,
}

impl Switch {
    /// Start it in `ns` with run directory `dir/run` and wait for its `ready` line.
    pub fn start(ns: &Netns, dir: &Scratch, args: &[&str]) -> Self {
        match Self::try_start(ns, dir, args) {
            Ok(s) => s,
            Err(out) => panic!("ofswitchd {}: {out}", args.join(" ")),
        }
    }

    /// The same; what it said if it ended or did not get ready within 20 s.
    pub fn try_start(ns: &Netns, dir: &Scratch, args: &[&str]) -> Result<Self, String> {
        let run_dir = dir.path("run");
        std::fs::create_dir_all(&run_dir).expect("run directory");
        let log = dir.path(&format!("ofswitchd-{}.log", NEXT.fetch_add(1, Ordering::Relaxed)));
        let stderr = std::fs::File::create(&log).expect("log file");
        let mut child = ns
            .command(&bin("ofswitchd").to_string_lossy())
            .arg("--run-dir")
            .arg(&run_dir)
            .args(args)
            .stdout(Stdio::piped())
            .stderr(stderr)
            .stdin(Stdio::null())
            .spawn()
            .expect("ip netns exec");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (tx, rx) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = tx.send(line);
            }
        });
        let mut said = String::new();
        let mut switch = Switch { child, run_dir, log, ready: String::new() };
        loop {
            match rx.recv_timeout(Duration::from_secs(20)) {
                Ok(line) if line.starts_with("ready") => {
                    switch.ready = line;
                    return Ok(switch);
                }
                Ok(line) => said += &format!("{line}\n"),
                Err(e) => {
                    let status = match e {
                        mpsc::RecvTimeoutError::Timeout => "still running, not ready".to_string(),
                        mpsc::RecvTimeoutError::Disconnected => {
                            format!("{}", switch.child.wait().expect("wait"))
                        }
                    };
                    return Err(format!("{status}: {said}{}", switch.log_text()));
                }
            }
        }
    }

    /// Its `ready` line.
    pub fn ready_line(&self) -> &str {
        &self.ready
    }

    /// What it has logged.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its run directory.
    pub fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// Whether it is still running.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// `ofctl` against it: whatever comes.
    pub fn try_ofctl(&self, args: &[&str]) -> Output {
        Command::new(bin("ofctl")).arg("--run-dir").arg(&self.run_dir).args(args).output().expect("ofctl")
    }

    /// `ofctl` against it, which must succeed; what it printed.
    pub fn ofctl(&self, args: &[&str]) -> String {
        self.checked("ofctl", args, self.try_ofctl(args))
    }

    /// Debian's `ovs-ofctl -O OpenFlow13` on a bridge's management socket: command, bridge, further arguments.
    pub fn try_ovs_ofctl(&self, args: &[&str]) -> Output {
        let (options, rest): (Vec<&str>, Vec<&str>) = args.iter().partition(|a| a.starts_with("--"));
        let target = format!("unix:{}", self.run_dir.join(format!("{}.mgmt", rest[1])).display());
        Command::new("timeout")
            .args(["20", "ovs-ofctl", "-O", "OpenFlow13"])
            .args(options)
            .args([rest[0], &target])
            .args(&rest[2..])
            .output()
            .expect("ovs-ofctl (package openvswitch-switch)")
    }

    /// The same, which must succeed.
    pub fn ovs_ofctl(&self, args: &[&str]) -> String {
        self.checked("ovs-ofctl", args, self.try_ovs_ofctl(args))
    }

    fn checked(&self, program: &str, args: &[&str], out: Output) -> String {
        assert!(
            out.status.success(),
            "{program} {}: {}\n{}{}\n--- the switch's log:\n{}",
            args.join(" "),
            out.status,
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr),
            self.log_text()
        );
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// Processor time used so far, by all its threads.
    pub fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("stat");
        let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
        let ticks: u64 =
            fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime");
        Duration::from_millis(ticks * 10)
    }

    /// End it as an operator would (SIGTERM); it must end by itself, with status 0, within 10 s.
    pub fn stop(mut self) {
        self.signal(libc::SIGTERM);
        let status = wait_for("ofswitchd ending after SIGTERM", Duration::from_secs(10), || {
            self.child.try_wait().expect("wait")
        });
        assert!(status.success(), "ofswitchd ended with {status}\n{}", self.log_text());
    }

    /// End it the hard way (SIGKILL).
    pub fn kill(mut self) {
        self.signal(libc::SIGKILL);
        let _ = self.child.wait();
    }

    fn signal(&self, signal: i32) {
        // SAFETY: plain system call on a child that has not been waited for.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log_text();
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            eprintln!("--- the end of ofswitchd's log:");
            for line in tail.iter().rev() {
                eprintln!("{line}");
            }
        }
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A switch with `n` hosts: host `i` (from 1) is 10.0.0.i on its `eth0`, joined to the switch's interface `p<i>`, port `i`.
#[derive(Debug)]
pub struct Lab {
    /// The daemon. Dropped before the namespaces.
    pub switch: Switch,
    /// The hosts, host 1 first.
    pub hosts: Vec<Netns>,
    /// Where the switch lives.
    pub ns: Netns,
    /// The test's directory.
    pub dir: Scratch,
}

impl Lab {
    /// Bridge `br0`, fail-secure, with `n` hosts and these further arguments.
    pub fn new(n: usize, args: &[&str]) -> Self {
        let (ns, hosts, dir) = Self::bare(n);
        let ports: Vec<String> = (1..=n).map(|i| format!("p{i},ofport={i}")).collect();
        let mut all = vec!["--bridge", "br0", "--dpid", "00000000000000e1", "--fail-mode", "secure"];
        for p in &ports {
            all.extend(["--port", p]);
        }
        all.extend(args);
        let switch = Switch::start(&ns, &dir, &all);
        Lab { switch, hosts, ns, dir }
    }

    /// Only the hosts and cables.
    pub fn bare(n: usize) -> (Netns, Vec<Netns>, Scratch) {
        let ns = Netns::new("sw");
        let mut hosts = Vec::new();
        for i in 1..=n {
            let host = Netns::new(&format!("h{i}"));
            ns.cable(&format!("p{i}"), &host, "eth0");
            host.sh(&format!(
                "ip link set eth0 address 02:00:00:00:00:{i:02x}; ip addr add 10.0.0.{i}/24 dev eth0"
            ));
            hosts.push(host);
        }
        (ns, hosts, Scratch::new())
    }

    /// Host `i`, from 1.
    pub fn host(&self, i: usize) -> &Netns {
        &self.hosts[i - 1]
    }

    /// Whether host `from` reaches host `to` within `seconds`.
    pub fn ping(&self, from: usize, to: usize, seconds: u32) -> bool {
        self.host(from).try_sh(&format!("ping -c 1 -i 0.2 -W {seconds} 10.0.0.{to}")).status.success()
    }
}
