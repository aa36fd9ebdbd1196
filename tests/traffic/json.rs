//! `ofctl --json`: every command prints JSON, and nothing else.

use tests::shared;
use tests::switch::{Lab, Switch};

/// How each command is tried; `-` in front: it may be refused here (there is no such thing), and then says so in words on stderr.
const HOW: &[&str] = &[
    "show br0",
    "dump-desc br0",
    "dump-tables br0",
    "dump-table-features br0",
    "dump-flows br0",
    "dump-flows br0 ip",
    "dump-aggregate br0",
    "add-flow br0 priority=3,ip,actions=output:1",
    "add-flows br0 FLOWS",
    "mod-flows br0 ip,actions=output:2",
    "replace-flows br0 FLOWS",
    "diff-flows br0 FLOWS",
    "bundle br0 BUNDLE",
    "del-flows br0 arp",
    "dump-ports br0",
    "dump-ports-desc br0",
    "mod-port br0 1 no-packet-in",
    "-mod-table br0 1 controller",
    "get-frags br0",
    "set-frags br0 normal",
    "add-group br0 group_id=1,type=all,bucket=actions=output:1",
    "add-groups br0 GROUPS",
    "mod-group br0 group_id=1,type=all,bucket=actions=output:2",
    "dump-groups br0",
    "dump-group-stats br0",
    "dump-group-features br0",
    "del-groups br0",
    "add-meter br0 meter=1,kbps,bands=type=drop,rate=1000",
    "mod-meter br0 meter=1,kbps,bands=type=drop,rate=2000",
    "dump-meter br0 meter=1",
    "dump-meters br0",
    "meter-stats br0",
    "meter-features br0",
    "del-meter br0 meter=1",
    "del-meters br0",
    "set-queue br0 p1 1 max-rate=1000000",
    "queue-stats br0",
    "queue-get-config br0",
    "set-table br0 3 flow-limit=10 overflow-policy=evict",
    "get-table br0",
    "del-queue br0 p1 1",
    "packet-out br0 in_port=controller,packet=ffffffffffff02000000000188cc0000,actions=output:1",
    "probe br0",
    "ping br0 64",
    "benchmark br0 64 10",
    "ofp-print 0414000800000005",
    "ofp-parse MESSAGES",
    "ofp-parse-pcap PCAP",
    "parse-flow ip,actions=1",
    "parse-flows FLOWS",
    "pki PKI",
    "add-br br1",
    "list-br",
    "del-br br1",
    "-add-port br0 nosuch0",
    "-del-port br0 nosuch0",
    "list-ports br0",
    "-set-port p1 frobnicate=1",
    "set-controller br0 ptcp:6699:127.0.0.1",
    "get-controller br0",
    "del-controller br0",
    "set-fail-mode br0 secure",
    "list-connections",
    "dump-megaflows br0",
    "dump-megaflows br0 ip",
    "show-macs br0",
    "show-dp",
    "show-top",
    "show-top 5",
    "pmd-stats-show",
    "pmd-stats-clear",
    "pmd-rxq-show",
    "pmd-rxq-rebalance",
    "pmd-sleep-show",
    "get-pmd",
    "-set-pmd frobnicate=1",
    "-port-xstats p1",
    "pool-show",
    "pmd-perf-show",
    "upcall-show",
    "state-show",
    "emc-set 1024",
    "emc-set auto",
    "set-flow-limit 100000",
    "memory-show",
    "log-level",
    "trace br0 in_port=1,ip,nw_ttl=64",
    "drops",
];

/// Those that go on until they are ended: what they print, they print as `ofp-print` and `dump-megaflows` do.
const ENDLESS: &[&str] = &["monitor", "snoop", "watch", "top"];

fn is_json(text: &str) -> bool {
    let one = |t: &str| serde_json::from_str::<serde_json::Value>(t).is_ok();
    one(text) || !text.trim().is_empty() && text.lines().all(one)
}

fn run(s: &Switch, how: &str, file: &dyn Fn(&str) -> String) -> Result<(), String> {
    let (may_fail, line) = match how.strip_prefix('-') {
        Some(l) => (true, l),
        None => (false, how),
    };
    let args: Vec<String> = line.split(' ').map(file).collect();
    let mut all = vec!["--json"];
    all.extend(args.iter().map(String::as_str));
    let out = s.try_ofctl(&all);
    let (said, err) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    match out.status.code() {
        Some(0) if is_json(&said) => Ok(()),
        Some(0) => Err(format!("{line}: no JSON: {said:?}")),
        Some(1) if may_fail && said.is_empty() && !err.is_empty() => Ok(()),
        code => Err(format!("{line}: {code:?} {said:?} {err:?}")),
    }
}

#[test]
fn every_command_speaks_json() {
    let _quiet = shared();
    let lab = Lab::new(2, &[]);
    let flows = lab.dir.write("flows.txt", "priority=1,ip,actions=output:1\npriority=2,arp,actions=FLOOD\n");
    let groups = lab.dir.write("groups.txt", "group_id=7,type=all,bucket=actions=output:1\n");
    let bundle = lab.dir.write("bundle.txt", "flow add priority=9,ip,actions=drop\n");
    let messages = lab.dir.path("messages");
    std::fs::write(&messages, [4, 20, 0, 8, 0, 0, 0, 5]).expect("write");
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../openflow/tests/corpus");
    let pcap = corpus.join("learning.pcap");
    let pki = lab.dir.path("pki");
    let file = |word: &str| match word {
        "FLOWS" => flows.clone(),
        "GROUPS" => groups.clone(),
        "BUNDLE" => bundle.clone(),
        "MESSAGES" => messages.to_string_lossy().into_owned(),
        "PCAP" => pcap.to_string_lossy().into_owned(),
        "PKI" => pki.to_string_lossy().into_owned(),
        word => word.to_string(),
    };
    let wrong: Vec<String> = HOW.iter().filter_map(|h| run(&lab.switch, h, &file).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Every command there is was tried.
    let help = lab.switch.ofctl(&["--help"]);
    let tried = |c: &str| {
        HOW.iter().any(|h| h.trim_start_matches('-').split(' ').next() == Some(c)) || ENDLESS.contains(&c)
    };
    let commands: Vec<&str> = help
        .lines()
        .filter(|l| l.starts_with("  ") && !l.trim_start().starts_with('-'))
        .filter_map(|l| l.split_whitespace().next())
        .collect();
    assert!(commands.len() > 60, "{help}");
    let forgotten: Vec<_> = commands.into_iter().filter(|c| !tried(c)).collect();
    assert!(forgotten.is_empty(), "not tried: {forgotten:?}");
}
