//! DPDK's environment (EAL): started once a process, before any DPDK port.
//!
//! Defaults that a person's `--dpdk "..."` overrides: one lcore on the first CPU we may use (our PMD threads are our own and
//! register themselves), no PCI device but those that ports name, no telemetry socket, nothing left in the file system (`--in-memory`), and without hugepages `--no-huge` with
//! a quarter of the free memory, 1 GiB at most. DPDK logs to standard error.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::sync::OnceLock;

use dpdk_sys as sys;
use parking_lot::Mutex;

/// Why DPDK could not be started or asked for something: what was tried, what DPDK said, what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}{}{advice}", if advice.is_empty() { "" } else { "; " })]
pub struct DpdkError {
    /// What was tried.
    pub what: String,
    /// DPDK's reason.
    pub why: String,
    /// What the operator can do; may be empty.
    pub advice: String,
}

impl DpdkError {
    pub(super) fn new(what: impl Into<String>, why: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into(), advice: advice.into() }
    }

    /// With the text of a DPDK error number (of either sign).
    pub(super) fn from_errno(what: impl Into<String>, errno: i32, advice: impl Into<String>) -> Self {
        Self::new(what, strerror(errno), advice)
    }
}

/// Text of an error number.
pub(super) fn strerror(errno: i32) -> String {
    // SAFETY: returns a C string that stays valid until this thread's next call; copied at once.
    unsafe { CStr::from_ptr(sys::rte_strerror(errno.abs())) }.to_string_lossy().into_owned()
}

/// DPDK's error number of this thread's last failed call.
pub(super) fn last_errno() -> i32 {
    // SAFETY: reads a thread-local integer.
    unsafe { sys::ofs_rte_errno() }
}

/// Proof that the EAL runs. It cannot be stopped and started again within a process.
#[derive(Debug, Clone, Copy)]
pub struct Eal {
    /// Hugepages are in use.
    pub hugepages: bool,
    /// Other processes may attach (`--proc-type` was given). DPDK then forbids threads of its users to register.
    pub multiprocess: bool,
}

static EAL: OnceLock<Eal> = OnceLock::new();
static STARTING: Mutex<()> = Mutex::new(());

/// The EAL if it has been started.
pub fn running() -> Option<Eal> {
    EAL.get().copied()
}

/// Free and total hugepage memory in bytes.
fn hugepage_bytes() -> (u64, u64) {
    let (mut free, mut total) = (0, 0);
    for e in std::fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten() {
        let name = e.file_name().to_string_lossy().into_owned();
        let kib: u64 = name.trim_start_matches("hugepages-").trim_end_matches("kB").parse().unwrap_or(0);
        let read = |f: &str| {
            std::fs::read_to_string(e.path().join(f))
                .ok()
                .and_then(|s| s.trim().parse::<u64>().ok())
                .unwrap_or(0)
        };
        free += read("free_hugepages") * kib * 1024;
        total += read("nr_hugepages") * kib * 1024;
    }
    (free, total)
}

/// `MemAvailable`, bytes.
fn available_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text
        .lines()
        .find_map(|l| l.strip_prefix("MemAvailable:"))
        .and_then(|l| l.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(1 << 20) * 1024
}

/// Whether `args` has one of the options, alone or with `=value` (or glued, for one-letter options).
fn has(args: &[String], names: &[&str]) -> bool {
    args.iter().any(|a| {
        names.iter().any(|n| {
            a == n
                || a.strip_prefix(n)
                    .is_some_and(|r| r.starts_with('=') || (n.len() == 2 && !n.starts_with("--")))
        })
    })
}

/// Splits at white space; single and double quotes group.
fn split(args: &str) -> Result<Vec<String>, DpdkError> {
    let (mut out, mut word, mut quote, mut any) = (Vec::new(), String::new(), None, false);
    for c in args.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '"' | '\'') => (quote, any) = (Some(c), true),
            (None, c) if c.is_whitespace() => {
                if any || !word.is_empty() {
                    out.push(std::mem::take(&mut word));
                }
                any = false;
            }
            (_, c) => word.push(c),
        }
    }
    if quote.is_some() {
        return Err(DpdkError::new("--dpdk", "a quote is not closed", ""));
    }
    if any || !word.is_empty() {
        out.push(word);
    }
    Ok(out)
}

/// The arguments for `rte_eal_init`, and whether hugepages are used.
fn complete(user: Vec<String>, first_cpu: usize, huge_free: u64, available: u64) -> (Vec<String>, bool) {
    let mut args = vec!["ofswitchd".to_owned()];
    if !has(&user, &["-l", "-c", "--lcores", "-S", "-s"]) {
        args.extend(["--lcores".to_owned(), format!("0@{first_cpu}")]);
    }
    if !has(&user, &["--telemetry", "--no-telemetry"]) {
        args.push("--no-telemetry".to_owned());
    }
    // Devices are plugged in when a port asks for them, by name. Probing all of PCI at the start could take a network card that the kernel uses.
    if !has(&user, &["-a", "--allow", "-b", "--block", "--no-pci"]) {
        args.extend(["-a".to_owned(), "0000:00:00.0".to_owned()]);
    }
    let shares_files =
        has(&user, &["--file-prefix", "--huge-dir", "--huge-unlink", "--proc-type", "--no-shconf"]);
    let mut huge = !has(&user, &["--no-huge"]);
    if huge && huge_free == 0 && !shares_files && !has(&user, &["-m", "--socket-mem", "--legacy-mem"]) {
        huge = false;
        args.push("--no-huge".to_owned());
    }
    if !huge && !has(&user, &["-m", "--socket-mem"]) {
        args.extend([
            "-m".to_owned(),
            (available / 4).clamp(128 << 20, 1 << 30).div_euclid(1 << 20).to_string(),
        ]);
    }
    // DPDK 22.11 refuses --no-huge with --in-memory; what is meant is --no-shconf (no runtime files).
    let in_memory = user.iter().any(|a| a == "--in-memory");
    let no_files = if huge { "--in-memory" } else { "--no-shconf" };
    if !shares_files || in_memory {
        args.push(no_files.to_owned());
    }
    args.extend(user.into_iter().filter(|a| a != "--in-memory"));
    (args, huge)
}

/// Starts the EAL with the operator's arguments; later calls return the same (their arguments are ignored).
///
/// # Errors
/// With what DPDK said and what to do about it. A failed start cannot be repeated in this process.
pub fn init(user_args: &str) -> Result<Eal, DpdkError> {
    let _one = STARTING.lock();
    if let Some(e) = EAL.get() {
        return Ok(*e);
    }
    let affinity = crate::sys::Cores::of_this_thread();
    let (huge_free, huge_total) = hugepage_bytes();
    let user = split(user_args)?;
    let multiprocess = has(&user, &["--proc-type"]);
    let (args, hugepages) = complete(user, affinity.iter().next().unwrap_or(0), huge_free, available_bytes());
    tracing::info!("DPDK: {}", args[1..].join(" "));
    let strings: Vec<CString> = args
        .iter()
        .map(|a| {
            CString::new(a.as_str())
                .map_err(|_| DpdkError::new("--dpdk", "an argument holds a zero byte", ""))
        })
        .collect::<Result<_, _>>()?;
    // The EAL keeps pointers into its arguments and permutes the array: both live for ever.
    let argv: &mut [*mut i8] =
        strings.into_iter().map(CString::into_raw).chain([std::ptr::null_mut()]).collect::<Vec<_>>().leak();
    // SAFETY: `argv` is an array of `len - 1` leaked C strings and a null, as main() would get it.
    let r = unsafe { sys::rte_eal_init((argv.len() - 1) as i32, argv.as_mut_ptr()) };
    // The EAL pins the calling thread to its main lcore; we are a thread like any other.
    affinity.keep_to(0);
    if r < 0 {
        let errno = last_errno();
        // SAFETY: a plain query.
        let root = unsafe { libc::geteuid() } == 0;
        let advice = match errno {
            // Root without a single hugepage (or hugetlbfs) is told EACCES: that is about memory.
            libc::EACCES | libc::EPERM if !(root && hugepages) => "DPDK needs root (or CAP_SYS_ADMIN, CAP_IPC_LOCK, CAP_NET_RAW)".to_owned(),
            libc::ENOMEM | libc::ENOTSUP | libc::ENOENT | libc::EACCES | libc::EPERM if hugepages => format!(
                "hugepages: {} MiB free of {} MiB; reserve some (`sysctl vm.nr_hugepages=512` gives 1 GiB), free those of dead processes, or run without: --dpdk \"--no-huge -m 512\"",
                huge_free >> 20,
                huge_total >> 20
            ),
            libc::EINVAL => format!("check the arguments: {}", args[1..].join(" ")),
            libc::EAGAIN | libc::EALREADY => "another DPDK process may hold the same --file-prefix; DPDK's own lines above say more".to_owned(),
            _ => "DPDK's own lines above say more".to_owned(),
        };
        return Err(DpdkError::from_errno("DPDK did not start", errno, advice));
    }
    let eal = Eal { hugepages, multiprocess };
    let _ = EAL.set(eal);
    Ok(eal)
}

/// DPDK's version, as it says it.
pub fn version() -> String {
    // SAFETY: returns a static C string.
    unsafe { CStr::from_ptr(sys::rte_version()) }.to_string_lossy().into_owned()
}

/// Memory of DPDK's heaps: (total, free) bytes, over all NUMA nodes.
pub fn memory_bytes() -> (u64, u64) {
    let (mut total, mut free) = (0, 0);
    if running().is_none() {
        return (0, 0);
    }
    // SAFETY: plain queries of a started EAL into a live structure.
    unsafe {
        for i in 0..sys::rte_socket_count() {
            let mut s = sys::rte_malloc_socket_stats::default();
            if sys::rte_malloc_get_socket_stats(sys::rte_socket_id_by_idx(i), &mut s) == 0 {
                total += s.heap_totalsz_bytes as u64;
                free += s.heap_freesz_bytes as u64;
            }
        }
    }
    (total, free)
}

/// Registers the calling thread with DPDK (its own slot in the pools' caches) until the guard is dropped, on the same thread.
#[derive(Debug)]
pub struct ThreadGuard(std::marker::PhantomData<*const ()>);

/// See [`ThreadGuard`]. None if the EAL does not run, has no slot left or serves other processes, too: all works, but slower.
pub fn register_thread() -> Option<ThreadGuard> {
    if running()?.multiprocess {
        return None;
    }
    // SAFETY: the EAL runs; registering twice is an error it reports.
    (unsafe { sys::rte_thread_register() } == 0).then_some(ThreadGuard(std::marker::PhantomData))
}

thread_local! {
    static REGISTERED: std::cell::OnceCell<Option<ThreadGuard>> = const { std::cell::OnceCell::new() };
}

/// Registers the calling thread, once, until it ends. Cheap to call for every burst.
#[inline]
pub fn ensure_registered() {
    // Fails only while the thread ends: then it needs no cache.
    let _ = REGISTERED.try_with(|r| {
        r.get_or_init(register_thread);
    });
}

impl Drop for ThreadGuard {
    fn drop(&mut self) {
        // SAFETY: this thread registered itself; the guard is not Send.
        unsafe { sys::rte_thread_unregister() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(a: &str) -> Vec<String> {
        split(a).unwrap()
    }

    #[test]
    fn splits_words_and_quotes() {
        assert_eq!(
            s("  -l 0  --vdev='net_null0,size=64 x' \"\" "),
            ["-l", "0", "--vdev=net_null0,size=64 x", ""]
        );
        assert!(split("'open").is_err());
    }

    #[test]
    fn sane_defaults_give_way_to_the_operator() {
        let (a, huge) = complete(s(""), 3, 0, 8 << 30);
        assert_eq!(
            a,
            [
                "ofswitchd",
                "--lcores",
                "0@3",
                "--no-telemetry",
                "-a",
                "0000:00:00.0",
                "--no-huge",
                "-m",
                "1024",
                "--no-shconf"
            ]
        );
        assert!(!huge);
        let (a, huge) = complete(s("-l 1 --socket-mem=512 --no-pci"), 3, 0, 8 << 30);
        assert_eq!(
            a,
            ["ofswitchd", "--no-telemetry", "--in-memory", "-l", "1", "--socket-mem=512", "--no-pci"]
        );
        assert!(huge);
        let (a, huge) = complete(s("--file-prefix x -m64 --lcores=1"), 3, 1 << 30, 8 << 30);
        assert_eq!(
            a,
            ["ofswitchd", "--no-telemetry", "-a", "0000:00:00.0", "--file-prefix", "x", "-m64", "--lcores=1"]
        );
        assert!(huge);
        assert_eq!(
            complete(s("--no-huge --in-memory --no-pci"), 0, 1 << 30, 400 << 20).0[4..],
            ["-m", "128", "--no-shconf", "--no-huge", "--no-pci"].map(String::from)
        );
    }
}
