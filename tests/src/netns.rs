//! Network namespaces: a host each, joined by veth cables.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Once;

static NEXT: AtomicU32 = AtomicU32::new(0);
static SWEEP: Once = Once::new();

/// A named network namespace, deleted on drop with every interface in it.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// A fresh namespace with loopback up.
    ///
    /// # Panics
    /// Without the right to make one: the tests need root.
    pub fn new(tag: &str) -> Self {
        SWEEP.call_once(sweep);
        let name = format!("ofe-{}-{}-{tag}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let out = Command::new("ip").args(["netns", "add", &name]).output().expect("ip (package iproute2)");
        assert!(
            out.status.success(),
            "cannot make a network namespace ({}); the end-to-end tests need root: sudo make e2e",
            String::from_utf8_lossy(&out.stderr).trim()
        );
        let ns = Netns { name };
        // Interfaces made later, a bridge's own among them, do not speak IPv6 by themselves.
        ns.sh("sysctl -qw net.ipv6.conf.default.disable_ipv6=1; ip link set lo up");
        ns
    }

    /// Its name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run inside. The process that is started is `program` itself.
    pub fn command(&self, program: &str) -> Command {
        let mut c = Command::new("ip");
        c.args(["netns", "exec", &self.name, program]);
        c
    }

    /// Run a shell line inside; its output.
    pub fn try_sh(&self, line: &str) -> Output {
        self.command("sh").args(["-c", line]).output().expect("ip netns exec")
    }

    /// Run a shell line inside, which must succeed; what it printed.
    pub fn sh(&self, line: &str) -> String {
        let out = self.try_sh(line);
        assert!(
            out.status.success(),
            "in {}: `{line}`: {}{}",
            self.name,
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// Run `body` on a thread of its own that lives inside; sockets it makes stay there.
    pub fn spawn<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        let file = File::open(format!("/run/netns/{}", self.name)).expect("namespace file");
        std::thread::spawn(move || {
            // SAFETY: setns takes a descriptor that `file` keeps open, and changes only the calling thread.
            let rc = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
            assert_eq!(rc, 0, "setns: {}", std::io::Error::last_os_error());
            body()
        })
    }

    /// The same, waiting for its result.
    pub fn enter<T: Send + 'static>(&self, body: impl FnOnce() -> T + Send + 'static) -> T {
        match self.spawn(body).join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// One counter of the namespace's `/proc/net/snmp`, for instance `("Tcp", "InCsumErrors")`.
    pub fn snmp(&self, proto: &str, counter: &str) -> u64 {
        let text = self.sh("cat /proc/net/snmp");
        let lines: Vec<Vec<&str>> = text
            .lines()
            .filter_map(|l| l.strip_prefix(&format!("{proto}:")))
            .map(|l| l.split_whitespace().collect())
            .collect();
        let at = lines[0].iter().position(|name| *name == counter).expect("counter name");
        lines[1][at].parse().expect("counter value")
    }

    /// Join interface `mine` here with `theirs` in `other` by a cable. Both are up; the kernel keeps quiet on them (no IPv6).
    pub fn cable(&self, mine: &str, other: &Netns, theirs: &str) {
        self.sh(&format!("ip link add {mine} type veth peer name {theirs} netns {}", other.name));
        for (ns, dev) in [(self, mine), (other, theirs)] {
            ns.sh(&format!("sysctl -qw net.ipv6.conf.{dev}.disable_ipv6=1; ip link set {dev} up"));
        }
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

/// Remove what test processes that were killed have left behind.
fn sweep() {
    let Ok(dir) = std::fs::read_dir("/run/netns") else { return };
    for entry in dir.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name
            .strip_prefix("ofe-")
            .and_then(|rest| rest.split('-').next())
            .and_then(|pid| pid.parse::<u32>().ok());
        if let Some(pid) = owner {
            if !std::path::Path::new(&format!("/proc/{pid}")).exists() {
                let _ = Command::new("ip").args(["netns", "del", &name]).output();
            }
        }
    }
}
