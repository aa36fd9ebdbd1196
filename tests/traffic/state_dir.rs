//! `--state-dir` where it cannot be had, holds something else, or has no room.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tests::switch::{Lab, Scratch, Switch};
use tests::{shared, wait_for};

/// A file system of its own, in memory, of `size`.
struct Small(PathBuf);

impl Small {
    fn new(dir: &Scratch, size: &str) -> Self {
        let path = dir.path("state");
        std::fs::create_dir_all(&path).expect("mount point");
        let s = Small(path);
        s.mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]);
        s
    }
    fn mount(&self, args: &[&str]) {
        let done = Command::new("mount").args(args).arg(&self.0).status().expect("mount");
        assert!(done.success(), "mount {args:?}");
    }
    fn text(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
    /// Leaves no room in it.
    fn fill(&self) {
        use std::io::Write;
        let mut f = std::fs::File::create(self.0.join("ballast")).expect("ballast");
        while f.write_all(&[7; 512]).is_ok() {}
    }
    fn make_room(&self) {
        std::fs::remove_file(self.0.join("ballast")).expect("ballast");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn cookies(s: &Switch) -> Vec<u32> {
    let text = s.ofctl(&["--no-stats", "dump-flows", "br0"]);
    let of = |l: &str| u32::from_str_radix(l.split("cookie=0x").nth(1)?.split(',').next()?, 16).ok();
    let mut all: Vec<u32> = text.lines().filter_map(of).collect();
    all.sort_unstable();
    all
}

/// With a barrier by our client (theirs takes an error for the barrier's reply), with a bundle by theirs.
fn add(s: &Switch, n: u32, bundle: bool) -> Result<(), String> {
    let flow = format!("cookie={n},priority={n},actions=drop");
    let out = match bundle {
        true => s.try_ovs_ofctl(&["--bundle", "add-flow", "br0", &flow]),
        false => s.try_ofctl(&["add-flow", "br0", &flow]),
    };
    match out.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&out.stderr).into_owned()),
    }
}

#[test]
fn a_full_disk_is_told_of_and_all_is_kept_once_there_is_room() {
    let _quiet = shared();
    let (ns, _hosts, dir) = Lab::bare(1);
    let small = Small::new(&dir, "256k");
    let args = ["--state-dir", small.text(), "--state-sync", "barrier", "--bridge", "br0", "--port", "p1"];
    let switch = Switch::start(&ns, &dir, &args);
    add(&switch, 1, false).expect("room");
    assert!(switch.ofctl(&["state-show"]).contains("br0.journal: kept"));
    small.fill();
    // Some fit in what the last page has left.
    let mut n = 1;
    let refused = loop {
        n += 1;
        assert!(n < 300, "the disk is never full");
        if let Err(e) = add(&switch, n, false) {
            break e;
        }
    };
    assert!(refused.contains("OFPFMFC_UNKNOWN"), "a barrier that cannot promise: {refused}");
    let shown = switch.ofctl(&["state-show"]);
    assert!(shown.contains("NOT KEPT for") && shown.contains("No space left"), "{shown}");
    assert!(switch.log_text().contains("state is not kept from now on"), "{}", switch.log_text());
    // The tables go on; a bundle is refused whole.
    let full = n;
    n += 1;
    assert!(add(&switch, n, false).is_err());
    let bundle = add(&switch, n + 1, true).expect_err("a commit cannot promise either");
    assert_eq!(cookies(&switch), (1..=n).collect::<Vec<_>>(), "{bundle}");
    small.make_room();
    wait_for("state to be kept again", Duration::from_secs(10), || {
        (!switch.ofctl(&["state-show"]).contains("NOT KEPT")).then_some(())
    });
    assert!(switch.log_text().contains("state is kept again"), "{}", switch.log_text());
    n += 1;
    add(&switch, n, true).expect("room again");
    switch.kill();
    // On a disk that is full it starts, too, with what it kept.
    small.fill();
    let switch = Switch::start(&ns, &dir, &args);
    assert_eq!(cookies(&switch), (1..=n).collect::<Vec<_>>(), "full at {full}");
    assert!(switch.ofctl(&["state-show"]).contains("NOT KEPT"), "{}", switch.ofctl(&["state-show"]));
    small.make_room();
    wait_for("state to be kept again", Duration::from_secs(10), || {
        (!switch.ofctl(&["state-show"]).contains("NOT KEPT")).then_some(())
    });
    assert!(!small.0.join("br0.journal.new").exists());
}

#[test]
fn a_state_directory_that_cannot_be_used_is_refused_by_name() {
    let _quiet = shared();
    let (ns, _hosts, dir) = Lab::bare(1);
    let refused = |dir: &Scratch, state: &str, words: &[&str]| {
        let args = ["--state-dir", state, "--bridge", "br0", "--port", "p1"];
        let said = Switch::try_start(&ns, dir, &args).expect_err("it cannot start");
        let last = said.lines().last().unwrap_or_default();
        assert!(words.iter().all(|w| last.contains(w)) && last.contains(state), "{words:?} of {said}");
    };
    let file = dir.write("file", "no directory");
    refused(&dir, &file, &["a directory is needed"]);
    refused(&dir, &format!("{file}/below"), &["Not a directory", "a directory is needed"]);
    let state = dir.path("kept");
    let at = |name: &str, bytes: &[u8]| {
        std::fs::create_dir_all(&state).expect("state directory");
        std::fs::write(state.join(name), bytes).expect("a file");
    };
    let is_still = |name: &str, bytes: &[u8]| assert_eq!(std::fs::read(state.join(name)).expect("it"), bytes);
    let text = state.to_str().expect("UTF-8");
    // Something else, and something of a time to come (with its checksum).
    let other = b"# Not a journal but somebody's notes, which nobody wants to lose.\n";
    at("br0.journal", other);
    refused(&dir, text, &["br0.journal", "not a journal of ofswitchd", "move it away"]);
    is_still("br0.journal", other);
    let newer = b"ofswitch journal 9 7d2510cf\nand what we cannot know";
    at("br0.journal", newer);
    refused(&dir, text, &["br0.journal", "format 9", "reads up to 1"]);
    is_still("br0.journal", newer);
    at("br0.journal", b"");
    at("config.json", b"{\"format\": 7, \"bridges\": \"elsewhere\"}");
    refused(&dir, text, &["config.json", "format 7", "reads up to 1"]);
    at("config.json", b"{\"format\": 1, \"bri");
    refused(&dir, text, &["config.json", "not a configuration", "move the file away"]);
    std::fs::remove_file(state.join("config.json")).expect("gone");
    // Two daemons, one directory.
    let args = ["--state-dir", text, "--bridge", "br0", "--port", "p1"];
    let switch = Switch::start(&ns, &dir, &args);
    refused(&Scratch::new(), text, &[&format!("process {}", switch.pid()), "a directory of its own"]);
    switch.kill();
    // Its lock went with it.
    Switch::start(&ns, &dir, &args).stop();
    let small = Small::new(&dir, "256k");
    small.mount(&["-o", "remount,ro"]);
    refused(&dir, small.text(), &["Read-only file system", "may write in"]);
}

/// Damage at places all over the journal of a real switch: it starts, with a state that it once had, and says what was lost. (Each single
/// byte's turn comes in the unit tests of `tools/src/state.rs`.)
#[test]
fn a_damaged_journal_gives_a_state_that_was() {
    let _quiet = shared();
    let (ns, _hosts, dir) = Lab::bare(1);
    let state = dir.path("state").to_string_lossy().into_owned();
    let args = ["--state-dir", &state, "--bridge", "br0", "--port", "p1"];
    let switch = Switch::start(&ns, &dir, &args);
    let mut states = vec![Vec::new()];
    for n in 1..=6 {
        let one = format!("cookie={n},priority={n},actions=drop\n");
        match n % 2 {
            0 => drop(switch.ovs_ofctl(&["add-flow", "br0", one.trim()])),
            // Three more at once.
            _ => {
                let more: String =
                    (1..4).map(|i| format!("cookie={},priority={0},actions=drop\n", n * 16 + i)).collect();
                let file = dir.write("flows", &(one + &more));
                switch.ovs_ofctl(&["--bundle", "add-flows", "br0", &file]);
            }
        }
        states.push(cookies(&switch));
    }
    switch.kill();
    let path = Path::new(&state).join("br0.journal");
    let whole = std::fs::read(&path).expect("journal");
    let step = whole.len() / 5;
    for (i, at) in (3..whole.len()).step_by(step).enumerate() {
        let mut bad = whole.clone();
        match i % 4 {
            0 => bad[at] ^= 0x10,
            1 => bad.truncate(at),
            2 => bad[at..].fill(0),
            _ => bad.extend_from_slice(&whole[at..]),
        }
        std::fs::write(&path, &bad).expect("damage");
        let switch = Switch::start(&ns, &dir, &args);
        let now = cookies(&switch);
        assert!(states.contains(&now), "damaged at {at} in way {}: {now:?}", i % 4);
        assert!(switch.log_text().contains("damaged"), "{}", switch.log_text());
        switch.kill();
    }
}
