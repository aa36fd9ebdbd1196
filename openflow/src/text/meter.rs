//! Meters in words: `meter=1,kbps,burst,stats,bands=type=drop,rate=1000,burst_size=200`.

use super::lex::{fault, fault_near, next_pair, u32, u8, Fault, Res};
use super::TextError;
use crate::ids::MeterId;
use crate::meter::{MeterBand, MeterBandType, MeterFlags};
use crate::msg::meter_mod::{MeterMod, MeterModCommand};
use std::fmt::Write;

const FLAGS: &[(&str, MeterFlags)] = &[
    ("kbps", MeterFlags::KBPS),
    ("pktps", MeterFlags::PKTPS),
    ("burst", MeterFlags::BURST),
    ("stats", MeterFlags::STATS),
];

/// Reads a meter for `command`. Without `kbps` or `pktps`, `kbps` is meant, and `burst_size=` implies `burst`. A delete needs no more than `meter=` (a number or `all`), or nothing.
///
/// # Errors
/// The first word that cannot be read, or a part that is missing.
pub fn parse_meter(text: &str, command: MeterModCommand) -> Result<MeterMod, TextError> {
    meter_of(text, command).map_err(|f: Fault<'_>| f.locate(text))
}

/// Reads which meter a request is about: `meter=1`, `meter=all`, `all` or nothing at all.
///
/// # Errors
/// A word that names no meter.
pub fn parse_meter_id(text: &str) -> Result<MeterId, TextError> {
    let go = || {
        let mut rest = text;
        let Some(p) = next_pair(&mut rest)? else { return Ok(MeterId::ALL) };
        let id = if p.key == "meter" { meter_id(p.need("a meter number")?)? } else { meter_id(p.key)? };
        match next_pair(&mut rest)? {
            Some(p) => fault(p.key, "nothing after the meter"),
            None => Ok(id),
        }
    };
    go().map_err(|f: Fault<'_>| f.locate(text))
}

fn meter_id(s: &str) -> Res<'_, MeterId> {
    Ok(match s.to_ascii_lowercase().as_str() {
        "all" => MeterId::ALL,
        "controller" => MeterId::CONTROLLER,
        "slowpath" => MeterId::SLOWPATH,
        _ => match u32(s, "a meter number, all, slowpath or controller")? {
            n @ 1.. if n <= MeterId::MAX.0 => MeterId(n),
            _ => return fault(s, format!("a meter number from 1 to {}", MeterId::MAX)),
        },
    })
}

fn meter_of(text: &str, command: MeterModCommand) -> Res<'_, MeterMod> {
    let delete = command == MeterModCommand::DELETE;
    let mut m = MeterMod { command, flags: MeterFlags::empty(), meter_id: MeterId::ALL, bands: Vec::new() };
    let mut named = false;
    let mut rest = text;
    let mut bands: Option<&str> = None;
    loop {
        let s = super::lex::strip(rest);
        if let Some(b) = s.strip_prefix("bands=").or_else(|| s.strip_prefix("band=")) {
            bands = Some(b);
            break;
        }
        let Some(p) = next_pair(&mut rest)? else { break };
        match p.key {
            "meter" => {
                m.meter_id = meter_id(p.need("a meter number")?)?;
                if m.meter_id == MeterId::ALL && !delete {
                    return fault(p.value, "a meter number: only a delete may say all");
                }
                named = true;
            }
            word => match FLAGS.iter().find(|(n, _)| *n == word) {
                Some((_, f)) => m.flags |= *f,
                None => {
                    let known = ["meter", "kbps", "pktps", "burst", "stats", "bands"];
                    return fault_near(
                        word,
                        "meter=..., kbps, pktps, burst, stats or bands=...",
                        known.into_iter(),
                    );
                }
            },
        }
    }
    if delete {
        return match bands {
            Some(b) => fault(b, "no bands in a delete"),
            None => Ok(m),
        };
    }
    let end = &text[text.len()..];
    if !named {
        return fault(end, "meter=...");
    }
    if m.flags.contains(MeterFlags::KBPS | MeterFlags::PKTPS) {
        return fault(text, "kbps or pktps, not both");
    }
    if !m.flags.intersects(MeterFlags::KBPS | MeterFlags::PKTPS) {
        m.flags |= MeterFlags::KBPS;
    }
    let Some(bands) = bands else { return fault(end, "bands=type=...") };
    m.bands = bands_of(bands)?;
    if let (false, true) =
        (m.flags.contains(MeterFlags::BURST), m.bands.iter().any(|b| b.rate_burst().1 != 0))
    {
        m.flags |= MeterFlags::BURST;
    }
    Ok(m)
}

fn bands_of(text: &str) -> Res<'_, Vec<MeterBand>> {
    #[derive(Default)]
    struct Band {
        kind: u16,
        rate: Option<u32>,
        burst_size: u32,
        prec_level: u8,
    }
    fn finish<'a>(b: Option<Band>, at: &'a str, out: &mut Vec<MeterBand>) -> Res<'a, ()> {
        let Some(b) = b else { return Ok(()) };
        let Some(rate) = b.rate else { return fault(at, "rate=... of the band before") };
        let burst_size = b.burst_size;
        out.push(match MeterBandType(b.kind) {
            MeterBandType::DROP => MeterBand::Drop { rate, burst_size },
            _ => MeterBand::DscpRemark { rate, burst_size, prec_level: b.prec_level },
        });
        Ok(())
    }
    let mut out = Vec::new();
    let mut now: Option<Band> = None;
    let mut rest = text;
    while let Some(p) = next_pair(&mut rest)? {
        if p.key == "type" {
            finish(now.take(), p.key, &mut out)?;
            let kind = match p.value {
                "drop" => 1,
                "dscp_remark" => 2,
                w => return fault_near(w, "drop or dscp_remark", ["drop", "dscp_remark"].into_iter()),
            };
            now = Some(Band { kind, ..Band::default() });
            continue;
        }
        let Some(b) = now.as_mut() else { return fault(p.key, "type=drop or type=dscp_remark first") };
        match p.key {
            "rate" => b.rate = Some(u32(p.need("a rate")?, "a rate")?),
            "burst_size" => b.burst_size = u32(p.need("a burst size")?, "a burst size")?,
            "prec_level" if b.kind == 2 => {
                b.prec_level = u8(p.need("a drop precedence")?, "a drop precedence")?
            }
            _ => {
                let known = ["type", "rate", "burst_size", "prec_level"];
                return fault_near(p.key, "type, rate, burst_size or prec_level", known.into_iter());
            }
        }
    }
    finish(now, &text[text.len()..], &mut out)?;
    Ok(out)
}

/// Appends `meter=1 kbps burst stats bands=`.
pub(crate) fn push_head(out: &mut String, id: MeterId, flags: MeterFlags, between: char) {
    out.push_str("meter=");
    super::action::push_meter(out, id);
    for (n, f) in FLAGS {
        if flags.contains(*f) {
            out.push(between);
            out.push_str(n);
        }
    }
    if flags.unknown() != 0 {
        let _ = write!(out, "{between}flags:{:#x}", flags.unknown());
    }
    let _ = write!(out, "{between}bands=");
}

/// Appends `type=drop rate=1000 burst_size=200`.
pub(crate) fn push_band(out: &mut String, b: &MeterBand, flags: MeterFlags, between: char) {
    let kind = b.kind();
    match kind {
        MeterBandType::DROP => out.push_str("type=drop"),
        MeterBandType::DSCP_REMARK => out.push_str("type=dscp_remark"),
        MeterBandType(t) => drop(write!(out, "type={t}")),
    }
    let (rate, burst) = b.rate_burst();
    let _ = write!(out, "{between}rate={rate}");
    if flags.contains(MeterFlags::BURST) {
        let _ = write!(out, "{between}burst_size={burst}");
    }
    if let MeterBand::DscpRemark { prec_level, .. } = b {
        let _ = write!(out, "{between}prec_level={prec_level}");
    }
}

/// A meter on one line, as [`parse_meter`] reads it: `meter=1,kbps,bands=type=drop,rate=1000`.
pub fn print_meter(id: MeterId, flags: MeterFlags, bands: &[MeterBand]) -> String {
    let mut out = String::new();
    push_head(&mut out, id, flags, ',');
    for (i, b) in bands.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        push_band(&mut out, b, flags, ',');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meters_round_trip() {
        for (input, output) in [
            (
                "meter=1,kbps,burst,stats,bands=type=drop rate=1000 burst_size=200",
                "meter=1,kbps,burst,stats,bands=type=drop,rate=1000,burst_size=200",
            ),
            (
                "meter=2 pktps bands=type=dscp_remark,rate=5,prec_level=2,type=drop,rate=9",
                "meter=2,pktps,bands=type=dscp_remark,rate=5,prec_level=2,type=drop,rate=9",
            ),
            ("meter=controller,band=type=drop,rate=1", "meter=controller,kbps,bands=type=drop,rate=1"),
            ("meter=3,bands=", "meter=3,kbps,bands="),
        ] {
            let m = parse_meter(input, MeterModCommand::ADD).unwrap_or_else(|e| panic!("{input}: {e}"));
            assert_eq!(print_meter(m.meter_id, m.flags, &m.bands), output);
            assert_eq!(parse_meter(output, MeterModCommand::ADD).unwrap(), m);
        }
        assert_eq!(parse_meter("", MeterModCommand::DELETE).unwrap().meter_id, MeterId::ALL);
        assert_eq!(parse_meter("meter=7", MeterModCommand::DELETE).unwrap().meter_id, MeterId(7));
        assert_eq!(parse_meter_id("meter=all").unwrap(), MeterId::ALL);
        assert_eq!(parse_meter_id("5").unwrap(), MeterId(5));
    }

    #[test]
    fn refuses_what_is_no_meter() {
        for (input, expected) in [
            ("kbps,bands=type=drop,rate=1", "meter=..."),
            ("meter=1,kbps", "bands="),
            ("meter=0,bands=", "from 1"),
            ("meter=all,bands=", "only a delete"),
            ("meter=1,kbps,pktps,bands=", "not both"),
            ("meter=1,bands=rate=1", "first"),
            ("meter=1,bands=type=drop", "rate="),
            ("meter=1,bands=type=drop,rate=1,prec_level=2", "type, rate"),
            ("meter=1,bands=type=dorp,rate=1", "drop or dscp_remark"),
            ("meter=1,kpbs,bands=", "meter=..., kbps"),
        ] {
            let e = parse_meter(input, MeterModCommand::ADD).expect_err(input);
            assert!(e.expected.contains(expected), "{input}: {e}");
        }
    }
}
