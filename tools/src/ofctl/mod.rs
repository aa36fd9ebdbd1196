//! `ofctl`: one command, one connection, one answer.
//!
//! [`options`] reads the command line · [`vconn`] talks OpenFlow to any switch · [`requests`] are the OpenFlow commands · [`live`] those that
//! keep listening · [`top`] what is busy · here: help, what goes to the command socket, and what needs no switch at all.

pub mod live;
pub mod options;
pub mod requests;
pub mod top;
pub mod vconn;

use crate::control;
use anyhow::{anyhow, bail, Context, Result};
use options::{Asked, Options, Usage};
use std::io::{Read, Write};
use std::path::Path;

/// Refused, or something went wrong.
pub const EX_REFUSED: u8 = 1;
/// Wrong usage (and what `diff-flows` says of a difference).
pub const EX_USAGE: u8 = 2;

/// Name, arguments, least and most of them. `SWITCH` is a bridge of the run directory or a target.
const COMMANDS: &[(&str, &str, usize, usize)] = &[
    ("show", "SWITCH", 1, 1),
    ("dump-desc", "SWITCH", 1, 1),
    ("dump-tables", "SWITCH", 1, 1),
    ("dump-table-features", "SWITCH", 1, 1),
    ("dump-flows", "SWITCH [FLOW]", 1, 2),
    ("dump-aggregate", "SWITCH [FLOW]", 1, 2),
    ("add-flow", "SWITCH FLOW", 2, 2),
    ("add-flows", "SWITCH FILE", 2, 2),
    ("mod-flows", "SWITCH FLOW", 2, 2),
    ("del-flows", "SWITCH [FLOW]", 1, 2),
    ("replace-flows", "SWITCH FILE", 2, 2),
    ("diff-flows", "SOURCE1 SOURCE2", 2, 2),
    ("bundle", "SWITCH FILE", 2, 2),
    ("dump-ports", "SWITCH [PORT]", 1, 2),
    ("dump-ports-desc", "SWITCH [PORT]", 1, 2),
    ("mod-port", "SWITCH PORT WORD...", 3, 20),
    ("mod-table", "SWITCH TABLE WORD", 3, 3),
    ("get-frags", "SWITCH", 1, 1),
    ("set-frags", "SWITCH normal|drop|reassemble", 2, 2),
    ("add-group", "SWITCH GROUP", 2, 2),
    ("add-groups", "SWITCH FILE", 2, 2),
    ("mod-group", "SWITCH GROUP", 2, 2),
    ("del-groups", "SWITCH [GROUP]", 1, 2),
    ("dump-groups", "SWITCH [GROUP]", 1, 2),
    ("dump-group-stats", "SWITCH [GROUP]", 1, 2),
    ("dump-group-features", "SWITCH", 1, 1),
    ("add-meter", "SWITCH METER", 2, 2),
    ("mod-meter", "SWITCH METER", 2, 2),
    ("del-meter", "SWITCH METER", 2, 2),
    ("del-meters", "SWITCH [METER]", 1, 2),
    ("dump-meter", "SWITCH METER", 2, 2),
    ("dump-meters", "SWITCH [METER]", 1, 2),
    ("meter-stats", "SWITCH [METER]", 1, 2),
    ("meter-features", "SWITCH", 1, 1),
    ("queue-stats", "SWITCH [PORT [QUEUE]]", 1, 3),
    ("queue-get-config", "SWITCH [PORT]", 1, 2),
    ("packet-out", "SWITCH \"in_port=P packet=HEX actions=...\"", 2, 99),
    ("monitor", "SWITCH [MISS_LEN] [invalid_ttl] [watch:[FLOW]]", 1, 9),
    ("snoop", "SWITCH", 1, 1),
    ("probe", "SWITCH", 1, 1),
    ("ping", "SWITCH [BYTES]", 1, 2),
    ("benchmark", "SWITCH BYTES COUNT", 3, 3),
    ("ofp-print", "[HEX|FILE [VERBOSITY]]", 0, 2),
    ("ofp-parse", "FILE", 1, 1),
    ("ofp-parse-pcap", "FILE [PORT]...", 1, 9),
    ("parse-flow", "FLOW", 1, 1),
    ("parse-flows", "FILE", 1, 1),
    ("pki", "DIR (makes a test CA and certificates; --days N)", 1, 1),
    ("add-br", "BRIDGE [dpid=HEX] [fail-mode=M] [mfr|hw|sw|serial|dp=TEXT]", 1, 9),
    ("del-br", "BRIDGE", 1, 1),
    ("list-br", "", 0, 0),
    ("add-port", "BRIDGE PORT [ofport=N] [type=T] [KEY=VALUE]...", 2, 40),
    ("del-port", "[BRIDGE] PORT", 1, 2),
    ("list-ports", "BRIDGE", 1, 1),
    ("set-port", "PORT KEY=VALUE...", 2, 40),
    ("set-queue", "BRIDGE PORT QUEUE|port [min-rate=BPS] [max-rate=BPS]", 4, 5),
    ("del-queue", "BRIDGE PORT QUEUE|port", 3, 3),
    ("set-table", "BRIDGE TABLE [flow-limit=N|none] [overflow-policy=refuse|evict]", 3, 4),
    ("get-table", "BRIDGE [TABLE]", 1, 2),
    ("set-controller", "BRIDGE TARGET...", 1, 40),
    ("del-controller", "BRIDGE", 1, 1),
    ("get-controller", "BRIDGE", 1, 1),
    ("set-fail-mode", "BRIDGE secure|standalone", 2, 2),
    ("list-connections", "[BRIDGE]", 0, 1),
    ("dump-megaflows", "[BRIDGE [FLOW]]", 0, 2),
    ("pmd-stats-show", "", 0, 0),
    ("pmd-stats-clear", "", 0, 0),
    ("pmd-rxq-show", "", 0, 0),
    ("pmd-rxq-rebalance", "", 0, 0),
    ("pmd-sleep-show", "", 0, 0),
    ("get-pmd", "", 0, 0),
    ("set-pmd", "KEY=VALUE...", 1, 40),
    ("port-xstats", "[PORT]", 0, 1),
    ("pool-show", "", 0, 0),
    ("pmd-perf-show", "", 0, 0),
    ("emc-set", "[pmd=WORKER] auto|ENTRIES", 1, 2),
    ("upcall-show", "", 0, 0),
    ("set-flow-limit", "N", 1, 1),
    ("state-show", "", 0, 0),
    ("memory-show", "", 0, 0),
    ("log-level", "[LEVEL]", 0, 1),
    ("trace", "BRIDGE FLOW|HEX (or --pcap FILE)", 1, 9),
    ("drops", "", 0, 0),
    ("show-macs", "BRIDGE", 1, 1),
    ("show-dp", "", 0, 0),
    ("show-top", "[FLOWS]", 0, 1),
    ("watch", "SWITCH [FLOW]", 1, 2),
    ("top", "", 0, 0),
];

/// Commands for the command socket, passed on as they are.
const DAEMON: &[&str] = &[
    "add-br",
    "del-br",
    "list-br",
    "add-port",
    "del-port",
    "list-ports",
    "set-port",
    "set-queue",
    "del-queue",
    "set-table",
    "get-table",
    "set-controller",
    "del-controller",
    "get-controller",
    "set-fail-mode",
    "list-connections",
    "dump-megaflows",
    "show-macs",
    "show-dp",
    "show-top",
    "pmd-stats-show",
    "pmd-stats-clear",
    "pmd-rxq-show",
    "pmd-rxq-rebalance",
    "pmd-sleep-show",
    "get-pmd",
    "set-pmd",
    "port-xstats",
    "pool-show",
    "pmd-perf-show",
    "emc-set",
    "upcall-show",
    "set-flow-limit",
    "state-show",
    "memory-show",
    "log-level",
    "drops",
];

/// Commands of OpenFlow 1.4 and later that people may try.
const LATER: &[&str] = &[
    "dump-table-desc",
    "dump-ipfix-bridge",
    "insert-buckets",
    "remove-buckets",
    "add-tlv-map",
    "dump-tlv-map",
    "ct-flush",
];

fn help() -> String {
    let mut out = String::from(
        "ofctl - programs and looks into OpenFlow 1.3 switches\n\n\
         usage: ofctl [--run-dir D] [--json] [OPTION]... COMMAND [SWITCH] ...\n\
         SWITCH is a bridge of the run directory, or tcp:IP:PORT, ssl:IP:PORT, unix:PATH.\n\n",
    );
    for (name, args, ..) in COMMANDS {
        out.push_str(format!("  {name:20} {args}").trim_end());
        out.push('\n');
    }
    out.push_str(
        "\noptions: -O OpenFlow13  --strict  --bundle  --sort[=FIELD] --rsort[=FIELD]  --names --no-names  --no-stats  -m\n\
         \x20        --timeout SECONDS  --private-key F --certificate F --ca-cert F  --pcap F  --count N  --interval S\n\
         exit status: 0, 1 (refused), 2 (usage; diff-flows: different)\n",
    );
    out
}

/// Runs `ofctl` with these arguments (without the program's name); the exit status.
pub fn run(args: impl IntoIterator<Item = String>) -> u8 {
    let usage = |e: &Usage| {
        eprintln!("ofctl: {e} (see ofctl --help)");
        EX_USAGE
    };
    match options::parse(args) {
        Ok(Asked::Help) => {
            print!("{}", help());
            0
        }
        Ok(Asked::Version) => {
            println!("ofctl {}", env!("CARGO_PKG_VERSION"));
            0
        }
        Ok(Asked::Command(o, name, args)) => match command(&o, &name, &args) {
            Ok(status) => status,
            Err(e) => match e.downcast_ref::<Usage>() {
                Some(u) => usage(u),
                // Whoever read our output has seen enough.
                None if is_broken_pipe(&e) => 0,
                None => {
                    eprintln!("ofctl: {name}: {}", format!("{e:#}").replace('\n', " "));
                    EX_REFUSED
                }
            },
        },
        Err(e) => usage(&e),
    }
}

fn is_broken_pipe(e: &anyhow::Error) -> bool {
    e.chain().any(|c| {
        c.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    }) && !e.to_string().contains("closed")
}

fn command(o: &Options, name: &str, args: &[String]) -> Result<u8> {
    let Some((_, shape, least, most)) = COMMANDS.iter().find(|c| c.0 == name) else {
        if LATER.contains(&name) {
            bail!("not in OpenFlow 1.3, which is what this switch speaks");
        }
        return Err(Usage(format!("unknown command {name:?}{}", near(name))).into());
    };
    if args.len() < *least || args.len() > *most {
        return Err(Usage(format!("usage: ofctl {name} {shape}")).into());
    }
    if DAEMON.contains(&name) {
        print(&daemon(o, name, args)?)?;
        return Ok(0);
    }
    let a: Vec<&str> = args.iter().map(String::as_str).collect();
    match name {
        "ofp-print" | "ofp-parse" | "ofp-parse-pcap" | "parse-flow" | "parse-flows" => offline(o, name, &a)?,
        "pki" => {
            let files = crate::pki::make(Path::new(a[0]), o.days.unwrap_or(365)).map_err(|e| anyhow!(e))?;
            if o.json {
                print(&format!("{}\n", serde_json::to_value(&files)?))?;
            } else {
                print(&files.iter().fold(String::new(), |s, f| format!("{s}{}\n", f.display())))?;
            }
        }
        "trace" => trace(o, args)?,
        "top" => top::top(o)?,
        "watch" => live::watch(o, &a)?,
        "monitor" => live::monitor(o, &a)?,
        "snoop" => live::snoop(o, a[0])?,
        "probe" | "ping" => live::ping(o, name, &a)?,
        "benchmark" => live::benchmark(o, &a)?,
        _ => return requests::run(o, name, &a),
    }
    Ok(0)
}

fn near(name: &str) -> String {
    let best = COMMANDS
        .iter()
        .map(|c| c.0)
        .filter(|c| c.starts_with(name) || name.starts_with(*c) || distance(c, name) <= 2);
    match best.min_by_key(|c| distance(c, name)) {
        Some(c) => format!(" (did you mean {c}?)"),
        None => String::new(),
    }
}

/// Levenshtein's.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let next = (diagonal + usize::from(ca != *cb)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}

/// Writes to standard output.
///
/// # Errors
/// It is closed or full.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Asks the daemon.
///
/// # Errors
/// Its refusal, or there is none.
pub fn daemon(o: &Options, name: &str, args: &[String]) -> Result<String> {
    let mut params = args.to_vec();
    if o.json {
        params.insert(0, "--json".into());
    }
    let path = o.run_dir.join("ofswitchd.sock");
    control::call(&path, name, &params, o.timeout).map_err(|e| anyhow!(e))
}

/// Asks the daemon for its answer's JSON, whatever is printed in the end.
///
/// # Errors
/// As [`daemon`], or what it said is no JSON.
pub fn daemon_json(o: &Options, name: &str, args: &[&str]) -> Result<serde_json::Value> {
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    Ok(serde_json::from_str(&daemon(&Options { json: true, ..o.clone() }, name, &args)?)?)
}

/// A file's content; `-` is standard input.
///
/// # Errors
/// It cannot be read.
pub fn read_file(path: &str) -> Result<Vec<u8>> {
    if path == "-" {
        let mut all = Vec::new();
        std::io::stdin().lock().read_to_end(&mut all)?;
        return Ok(all);
    }
    std::fs::read(path).with_context(|| path.to_string())
}

fn offline(o: &Options, name: &str, a: &[&str]) -> Result<()> {
    use crate::offline as off;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let verbosity = 2 + o.more;
    let file = a.first().copied().unwrap_or("-");
    match name {
        "ofp-print" => {
            // As with ovs-ofctl the bytes may stand on the command line; a file of that name comes first.
            let hex = file != "-" && off::is_hex(file) && !std::path::Path::new(file).exists();
            let input = if hex { file.as_bytes().to_vec() } else { read_file(file)? };
            let verbosity = match a.get(1) {
                Some(v) => v.parse().with_context(|| format!("verbosity {v:?}"))?,
                None => verbosity,
            };
            off::ofp_print(&input, verbosity, o.json, &mut out)?;
        }
        "ofp-parse" => off::ofp_parse(&read_file(file)?, verbosity, o.json, &mut out)?,
        "ofp-parse-pcap" => {
            let ports: Result<Vec<u16>> =
                a[1..].iter().map(|p| p.parse().with_context(|| format!("port {p:?}"))).collect();
            let ports = ports?;
            let ports = if ports.is_empty() { vec![6633, 6653] } else { ports };
            off::ofp_parse_pcap(&read_file(file)?, &ports, verbosity, o.json, &mut out)?;
        }
        "parse-flow" => off::parse_flow(a[0], o.json, &mut out)?,
        _ => {
            let text = String::from_utf8(read_file(file)?).map_err(|_| anyhow!("{file}: not UTF-8"))?;
            off::parse_flows(&text, o.json, &mut out).with_context(|| file.to_string())?;
        }
    }
    out.flush()?;
    Ok(())
}

/// The frames of a classic pcap file.
fn pcap_frames(file: &[u8]) -> Result<Vec<&[u8]>, String> {
    let magic = file.get(..4).ok_or("too short for a pcap file")?;
    let little = match magic {
        [0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1] => true,
        [0xa1, 0xb2, 0xc3, 0xd4] | [0xa1, 0xb2, 0x3c, 0x4d] => false,
        _ => return Err("not a pcap file (pcapng: convert it with `editcap -F pcap`)".into()),
    };
    let mut rest = file.get(24..).ok_or("too short for a pcap file")?;
    let mut out = Vec::new();
    while !rest.is_empty() {
        let field = |at: usize| -> Option<u32> {
            let b: [u8; 4] = rest.get(at..at + 4)?.try_into().ok()?;
            Some(if little { u32::from_le_bytes(b) } else { u32::from_be_bytes(b) })
        };
        let len = field(8).ok_or("cut in a record's header")? as usize;
        out.push(rest.get(16..16 + len).ok_or("cut in a packet")?);
        rest = &rest[16 + len..];
    }
    Ok(out)
}

fn trace(o: &Options, args: &[String]) -> Result<()> {
    let Some(path) = &o.pcap else {
        if args.len() < 2 {
            return Err(Usage("usage: ofctl trace BRIDGE FLOW|HEX (or --pcap FILE)".into()).into());
        }
        return print(&daemon(o, "trace", args)?);
    };
    let file = std::fs::read(path).with_context(|| path.display().to_string())?;
    let frames = pcap_frames(&file).map_err(|e| anyhow!("{}: {e}", path.display()))?;
    // Words after the bridge (in_port=N) hold for every packet.
    for (i, f) in frames.iter().take(o.count.unwrap_or(u64::MAX) as usize).enumerate() {
        let hex: String = f.iter().map(|b| format!("{b:02x}")).collect();
        let mut words = args.to_vec();
        if words.len() == 1 {
            words.push("in_port=1".into());
        }
        words.push(hex);
        if !o.json {
            print(&format!("Packet {}:\n", i + 1))?;
        }
        print(&daemon(o, "trace", &words)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_known_once_and_misspellings_are_met() {
        for (i, c) in COMMANDS.iter().enumerate() {
            assert!(COMMANDS[i + 1..].iter().all(|d| d.0 != c.0), "{} twice", c.0);
        }
        assert!(DAEMON.iter().all(|d| COMMANDS.iter().any(|c| c.0 == *d)));
        assert_eq!(near("dump-flow"), " (did you mean dump-flows?)");
        assert_eq!(near("xyzzy"), "");
    }

    #[test]
    fn pcap_files_are_cut_into_frames_and_damaged_ones_refused() {
        let mut f = vec![0xd4, 0xc3, 0xb2, 0xa1];
        f.extend([0; 20]);
        f.extend([0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0, 1, 2, 3]);
        assert_eq!(pcap_frames(&f).unwrap(), [[1, 2, 3]]);
        for cut in 0..f.len() {
            let r = pcap_frames(&f[..cut]);
            assert!(r.is_err() || cut == 24, "{cut}");
        }
    }
}
