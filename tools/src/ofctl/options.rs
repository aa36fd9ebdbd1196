//! The command line of `ofctl`: options anywhere, as getopt has them, then a command and its arguments.

use std::path::PathBuf;
use std::time::Duration;

/// A usage error: exit status 2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Everything that options can say.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where the daemon keeps its sockets.
    pub run_dir: PathBuf,
    /// Machine-readable output.
    pub json: bool,
    /// `--strict`: mod-flows and del-flows match exactly.
    pub strict: bool,
    /// `--bundle`: all or nothing.
    pub bundle: bool,
    /// `--sort[=FIELD]`.
    pub sort: Vec<(String, bool)>,
    /// `--names` or `--no-names`; unset: only for a terminal.
    pub names: Option<bool>,
    /// `--no-stats`.
    pub no_stats: bool,
    /// `-m`, as often as given.
    pub more: u8,
    /// `--timeout`.
    pub timeout: Option<Duration>,
    /// `--private-key`, `--certificate`, `--ca-cert`.
    pub private_key: Option<PathBuf>,
    #[allow(missing_docs)]
    pub certificate: Option<PathBuf>,
    #[allow(missing_docs)]
    pub ca_cert: Option<PathBuf>,
    /// `--pcap F`, for trace.
    pub pcap: Option<PathBuf>,
    /// `--interval`, `--count`: for watch, top and ping.
    pub interval: Option<Duration>,
    #[allow(missing_docs)]
    pub count: Option<u64>,
    /// `--days N`, for pki.
    pub days: Option<u32>,
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Asked {
    /// `--help`.
    Help,
    /// `--version`.
    Version,
    /// A command.
    Command(Box<Options>, String, Vec<String>),
}

fn seconds(name: &str, text: &str) -> Result<Duration, Usage> {
    match text.parse::<f64>() {
        Ok(s) if s.is_finite() && (0.0..=1e9).contains(&s) => Ok(Duration::from_secs_f64(s)),
        _ => Err(Usage(format!("{name}: {text:?} is not a number of seconds"))),
    }
}

/// Options that take a value, with their short forms.
const VALUED: &[(&str, &str)] = &[
    ("run-dir", ""),
    ("protocols", "O"),
    ("timeout", "t"),
    ("flow-format", "F"),
    ("packet-in-format", "P"),
    ("private-key", "p"),
    ("certificate", "c"),
    ("ca-cert", "C"),
    ("pcap", ""),
    ("color", ""),
    ("interval", ""),
    ("count", ""),
    ("days", ""),
    ("log-file", ""),
    ("unixctl", ""),
    ("sort", ""),
    ("rsort", ""),
    ("verbose", ""),
];

/// Splits the command line (without the program's name).
///
/// # Errors
/// The word that is wrong.
pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Asked, Usage> {
    let mut o = Options {
        run_dir: std::env::var_os("OFSWITCH_RUN_DIR")
            .map_or_else(|| crate::config::DEFAULT_RUN_DIR.into(), Into::into),
        ..Options::default()
    };
    let mut rest = Vec::new();
    let mut args = args.into_iter();
    let mut only_words = false;
    while let Some(a) = args.next() {
        if only_words || a == "-" || !a.starts_with('-') {
            rest.push(a);
            continue;
        }
        if a == "--" {
            only_words = true;
            continue;
        }
        let (name, mut value) = if let Some(long) = a.strip_prefix("--") {
            match long.split_once('=') {
                Some((n, v)) => (n.to_string(), Some(v.to_string())),
                None => (long.to_string(), None),
            }
        } else {
            let body = &a[1..];
            let first: String = body.chars().take(1).collect();
            let tail = &body[first.len()..];
            let known = VALUED.iter().find(|(_, s)| *s == first);
            match (first.as_str(), known) {
                (_, Some((long, _))) => (long.to_string(), (!tail.is_empty()).then(|| tail.to_string())),
                ("m", _) if body.chars().all(|c| c == 'm') => {
                    o.more = o.more.saturating_add(body.len().min(9) as u8);
                    continue;
                }
                ("v", _) => continue,
                ("h", _) if tail.is_empty() => return Ok(Asked::Help),
                ("V", _) if tail.is_empty() => return Ok(Asked::Version),
                _ => return Err(Usage(format!("unknown option {a:?}"))),
            }
        };
        let takes = VALUED.iter().any(|(n, _)| *n == name);
        // These may stand alone, as in ovs-ofctl.
        let optional = matches!(name.as_str(), "sort" | "rsort" | "color" | "verbose" | "unixctl");
        if takes && !optional && value.is_none() {
            value = args.next();
            if value.is_none() {
                return Err(Usage(format!("option --{name} needs a value")));
            }
        }
        let v = value.as_deref().unwrap_or("");
        match name.as_str() {
            "run-dir" => o.run_dir = v.into(),
            "json" => o.json = true,
            "strict" => o.strict = true,
            "bundle" => o.bundle = true,
            "sort" => o.sort.push((v.into(), false)),
            "rsort" => o.sort.push((v.into(), true)),
            "names" => o.names = Some(true),
            "no-names" => o.names = Some(false),
            "stats" => o.no_stats = false,
            "no-stats" => o.no_stats = true,
            "more" => o.more = o.more.saturating_add(1),
            "protocols" => protocols(v)?,
            "timeout" => o.timeout = Some(seconds("--timeout", v)?),
            "interval" => o.interval = Some(seconds("--interval", v)?),
            "count" => {
                o.count = Some(v.parse().map_err(|_| Usage(format!("--count: {v:?} is not a number")))?);
            }
            "days" => o.days = Some(v.parse().map_err(|_| Usage(format!("--days: {v:?} is not a number")))?),
            "private-key" => o.private_key = Some(v.into()),
            "certificate" => o.certificate = Some(v.into()),
            "ca-cert" => o.ca_cert = Some(v.into()),
            "pcap" => o.pcap = Some(v.into()),
            "help" => return Ok(Asked::Help),
            "version" => return Ok(Asked::Version),
            // Accepted for scripts made for ovs-ofctl; they change nothing here.
            "flow-format" | "packet-in-format" | "color" | "log-file" | "unixctl" | "verbose"
            | "read-only" | "readd" | "no-color" | "oneline" => {}
            _ => return Err(Usage(format!("unknown option \"--{name}\""))),
        }
    }
    if rest.is_empty() {
        return Err(Usage("no command given".into()));
    }
    let command = rest.remove(0);
    Ok(Asked::Command(Box::new(o), command, rest))
}

/// `-O`: a list of versions, of which we need 1.3.
fn protocols(list: &str) -> Result<(), Usage> {
    let mut ours = false;
    for name in list.split([',', ' ']).filter(|n| !n.is_empty()) {
        match name.to_ascii_lowercase().as_str() {
            "openflow13" | "1.3" | "oxm" | "oxm-openflow13" | "any" => ours = true,
            "openflow10" | "openflow11" | "openflow12" | "openflow14" | "openflow15" | "openflow16" => {}
            _ => return Err(Usage(format!("-O: unknown protocol {name:?}; this is OpenFlow13"))),
        }
    }
    if ours {
        Ok(())
    } else {
        Err(Usage(format!("-O {list}: only OpenFlow13 is spoken")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn go(line: &str) -> Result<Asked, Usage> {
        parse(line.split_whitespace().map(String::from))
    }

    #[test]
    fn options_stand_anywhere_in_the_forms_of_getopt() {
        let Ok(Asked::Command(o, c, rest)) =
            go("-OOpenFlow13 dump-flows --sort=priority br0 -mm table=1 --run-dir /x -t 5")
        else {
            panic!()
        };
        assert_eq!((c.as_str(), rest), ("dump-flows", vec!["br0".to_string(), "table=1".into()]));
        assert_eq!(o.sort, [("priority".to_string(), false)]);
        assert_eq!((o.more, o.run_dir.to_str(), o.timeout), (2, Some("/x"), Some(Duration::from_secs(5))));
        let Ok(Asked::Command(_, _, rest)) = go("add-flow br0 -- -x") else { panic!() };
        assert_eq!(rest[1], "-x");
    }

    #[test]
    fn wrong_words_are_named() {
        assert_eq!(go("--wrong show").unwrap_err().0, "unknown option \"--wrong\"");
        assert_eq!(go("-O OpenFlow10 show br0").unwrap_err().0, "-O OpenFlow10: only OpenFlow13 is spoken");
        assert_eq!(go("--strict").unwrap_err().0, "no command given");
        assert!(go("show --timeout x").unwrap_err().0.contains("--timeout: \"x\""));
    }
}
