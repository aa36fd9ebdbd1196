//! Words, numbers and places: what every part of the text language is made of.
//!
//! The language is a list of `key`, `key=value`, `key:value`, `key(value)` and `key(value)->tail`, separated by commas
//! or blanks; brackets nest inside a value. All slices point into the text being read, so a fault is located by its slice.

use super::TextError;
use nom::branch::alt;
use nom::bytes::complete::{tag, take_till, take_while, take_while1};
use nom::combinator::{all_consuming, map_opt};
use nom::sequence::preceded;
use nom::IResult;
use std::borrow::Cow;

/// Deepest nesting of `clone(clone(...))` and friends; bounds stack and time (each level is scanned once more).
pub const MAX_DEPTH: usize = 32;

/// Something wrong at a slice of the text being read.
#[derive(Debug, Clone)]
pub(crate) struct Fault<'a> {
    at: &'a str,
    expected: Cow<'static, str>,
    hint: Option<String>,
}

pub(crate) type Res<'a, T> = Result<T, Fault<'a>>;

/// A refusal at `at`.
pub(crate) fn fault<T>(at: &str, expected: impl Into<Cow<'static, str>>) -> Res<'_, T> {
    Err(Fault { at, expected: expected.into(), hint: None })
}

/// A refusal at `at` with the nearest of `known` words as a hint.
pub(crate) fn fault_near<'a, 'k, T>(
    at: &'a str,
    expected: impl Into<Cow<'static, str>>,
    known: impl Iterator<Item = &'k str>,
) -> Res<'a, T> {
    Err(Fault { at, expected: expected.into(), hint: nearest(at, known) })
}

impl Fault<'_> {
    /// Line and column of the fault in `whole`, the text it was found in.
    pub(crate) fn locate(self, whole: &str) -> TextError {
        let (start, at) = (whole.as_ptr() as usize, self.at.as_ptr() as usize);
        let offset = if (start..=start + whole.len()).contains(&at) { at - start } else { whole.len() };
        let before = whole.get(..offset).unwrap_or(whole);
        let line = before.bytes().filter(|&b| b == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        let word: String = self.at.trim().chars().take(60).collect();
        TextError { line, column, word, expected: self.expected.into_owned(), hint: self.hint }
    }
}

/// The known word closest to `word`, if close enough to be a slip of the finger.
fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    if word.len() < 2 || word.len() > MAX_WORD {
        return None;
    }
    let limit = if word.len() < 5 { 1 } else { 2 };
    known
        .filter(|k| k.len().abs_diff(word.len()) <= limit && *k != word)
        .map(|k| (distance(word.as_bytes(), k.as_bytes()), k))
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, _)| *d)
        .map(|(_, k)| k.to_owned())
}

/// Longest word that gets a hint, and two more bytes for what it might have been.
const MAX_WORD: usize = 24;

/// Edit distance, a swap of neighbours counting as one; words of at most `MAX_WORD + 2` bytes.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut before = [0usize; MAX_WORD + 3];
    let mut last: [usize; MAX_WORD + 3] = std::array::from_fn(|i| i);
    let mut row = before;
    for i in 0..a.len() {
        row[0] = i + 1;
        for j in 0..b.len() {
            let mut d = (last[j] + usize::from(a[i] != b[j])).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                d = d.min(before[j - 1] + 1);
            }
            row[j + 1] = d;
        }
        before = last;
        last = row;
    }
    last[b.len()]
}

/// How a key is joined to its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Join {
    /// The key stands alone.
    None,
    /// `key=value`
    Equals,
    /// `key:value`
    Colon,
    /// `key(value)`
    Paren,
}

/// One element of a list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair<'a> {
    pub key: &'a str,
    pub join: Join,
    pub value: &'a str,
    /// What follows `->` after `key(value)`.
    pub tail: Option<&'a str>,
}

impl<'a> Pair<'a> {
    /// The value, or a refusal that says what it should be.
    pub(crate) fn need(&self, what: &'static str) -> Res<'a, &'a str> {
        if self.join == Join::None || self.value.is_empty() {
            return fault(if self.value.is_empty() { self.key } else { self.value }, what);
        }
        Ok(self.value)
    }
    /// Refuses a value where none belongs.
    pub(crate) fn alone(&self) -> Res<'a, ()> {
        match self.join {
            Join::None => Ok(()),
            Join::Paren if self.value.is_empty() => Ok(()),
            _ => fault(self.value, format!("no value after {}", self.key)),
        }
    }
}

fn is_separator(c: char) -> bool {
    matches!(c, ',' | ' ' | '\t' | '\r' | '\n')
}

/// Cuts the next element off `rest`; `None` at the end.
pub(crate) fn next_pair<'a>(rest: &mut &'a str) -> Res<'a, Option<Pair<'a>>> {
    let s = strip(rest);
    *rest = s;
    if s.is_empty() {
        return Ok(None);
    }
    let (after, key) = till(s, |c| is_separator(c) || matches!(c, ':' | '=' | '('));
    let mut chars = after.chars();
    let pair = match chars.next() {
        Some('(') => {
            let inner = chars.as_str();
            let end = value_end(inner, true)?;
            let (value, after) = (&inner[..end], &inner[end + 1..]);
            match after.strip_prefix("->") {
                Some(t) => {
                    let end = value_end(t, false)?;
                    *rest = &t[end..];
                    Pair { key, join: Join::Paren, value, tail: Some(&t[..end]) }
                }
                None => {
                    *rest = after;
                    Pair { key, join: Join::Paren, value, tail: None }
                }
            }
        }
        Some(c @ (':' | '=')) => {
            let inner = chars.as_str();
            let end = value_end(inner, false)?;
            *rest = &inner[end..];
            let join = if c == ':' { Join::Colon } else { Join::Equals };
            Pair { key, join, value: &inner[..end], tail: None }
        }
        _ => {
            *rest = after;
            Pair { key, join: Join::None, value: &after[..0], tail: None }
        }
    };
    Ok(Some(pair))
}

/// The text without leading separators.
pub(crate) fn strip(s: &str) -> &str {
    let out: IResult<&str, &str> = take_while(is_separator)(s);
    out.map_or(s, |(rest, _)| rest)
}

fn till(s: &str, stop: impl Fn(char) -> bool) -> (&str, &str) {
    let out: IResult<&str, &str> = take_till(stop)(s);
    out.unwrap_or(("", s))
}

/// Where the value at the start of `s` ends: at a separator outside brackets, or (`paren`) at the closing parenthesis.
fn value_end(s: &str, paren: bool) -> Res<'_, usize> {
    let mut depth = 0usize;
    let mut quoted = false;
    for (i, b) in s.bytes().enumerate() {
        match b {
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'(' | b'[' | b'{' => depth += 1,
            b')' if depth == 0 && paren => return Ok(i),
            b')' | b']' | b'}' if depth == 0 => {
                return fault(&s[i..i + 1], "no closing bracket without an opening one")
            }
            b')' | b']' | b'}' => depth -= 1,
            b',' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 && !paren => return Ok(i),
            _ => {}
        }
    }
    if quoted {
        return fault(s, "a closing quotation mark");
    }
    if paren || depth > 0 {
        return fault(&s[s.len()..], "a closing bracket");
    }
    Ok(s.len())
}

/// Splits the inside of parentheses at commas and blanks, keeping nested brackets whole; empty elements survive.
pub(crate) fn positional(s: &str) -> Res<'_, Vec<&str>> {
    let mut out = Vec::new();
    let mut rest = s;
    loop {
        let trimmed = rest.trim_start();
        let end = match trimmed.find(',') {
            Some(_) => {
                let e = value_end(trimmed, false)?;
                let tail = trimmed[e..].trim_start();
                out.push(&trimmed[..e]);
                match tail.strip_prefix(',') {
                    Some(t) => {
                        rest = t;
                        continue;
                    }
                    None if tail.is_empty() => return Ok(out),
                    None => return fault(tail, "a comma"),
                }
            }
            None => trimmed.trim_end(),
        };
        out.push(end);
        return Ok(out);
    }
}

/// A number: decimal, or hexadecimal after `0x`.
pub(crate) fn parse_u128(s: &str) -> Option<u128> {
    let hex = map_opt(
        preceded(alt((tag("0x"), tag("0X"))), take_while1(|c: char| c.is_ascii_hexdigit())),
        |d: &str| u128::from_str_radix(d, 16).ok(),
    );
    let dec = map_opt(take_while1(|c: char| c.is_ascii_digit()), |d: &str| d.parse::<u128>().ok());
    let out: IResult<&str, u128> = all_consuming(alt((hex, dec)))(s);
    out.ok().map(|(_, v)| v)
}

/// A number of at most `max`, or a refusal that names `what`.
pub(crate) fn number<'a>(s: &'a str, max: u64, what: &str) -> Res<'a, u64> {
    match parse_u128(s) {
        Some(v) if v <= u128::from(max) => Ok(v as u64),
        _ => fault(s, format!("{what}, a number from 0 to {max}")),
    }
}

macro_rules! sized {
    ($($name:ident $t:ty),*) => { $(
        /// [`number`] of this width.
        pub(crate) fn $name<'a>(s: &'a str, what: &str) -> Res<'a, $t> {
            number(s, <$t>::MAX as u64, what).map(|v| v as $t)
        }
    )* };
}
sized!(u8 u8, u16 u16, u32 u32, u64 u64);

/// Hexadecimal digits, in pairs; dots, colons and blanks between pairs are ignored.
pub(crate) fn hex_bytes<'a>(s: &'a str, what: &'static str) -> Res<'a, Vec<u8>> {
    let mut out = Vec::with_capacity(s.len() / 2);
    let mut high: Option<u8> = None;
    for (i, c) in s.char_indices() {
        let at = &s[i..];
        if high.is_none() && matches!(c, '.' | ':' | ' ' | '\t' | '\n' | '\r') {
            continue;
        }
        let Some(d) = c.to_digit(16) else { return fault(at, what) };
        match high.take() {
            Some(h) => out.push(h << 4 | d as u8),
            None => high = Some(d as u8),
        }
    }
    match high {
        Some(_) => fault(s, "an even number of hexadecimal digits"),
        None => Ok(out),
    }
}

/// `0x..`, but plain `0` for zero, as C prints `%#x`.
pub(crate) fn push_hex(out: &mut String, v: u128) {
    use std::fmt::Write;
    if v == 0 {
        out.push('0');
    } else {
        let _ = write!(out, "{v:#x}");
    }
}

/// Decimal without the formatting machinery: dumps print millions of them.
pub(crate) fn push_dec(out: &mut String, v: u128) {
    if let Ok(v) = u64::try_from(v) {
        let mut buf = [0u8; 20];
        let mut i = buf.len();
        let mut v = v;
        loop {
            i -= 1;
            buf[i] = b'0' + (v % 10) as u8;
            v /= 10;
            if v == 0 {
                break;
            }
        }
        out.push_str(std::str::from_utf8(&buf[i..]).unwrap_or_default());
    } else {
        use std::fmt::Write;
        let _ = write!(out, "{v}");
    }
}

/// Bytes as two digits each.
pub(crate) fn push_bytes(out: &mut String, bytes: &[u8], between: &str) {
    use std::fmt::Write;
    for (i, b) in bytes.iter().enumerate() {
        if i > 0 {
            out.push_str(between);
        }
        let _ = write!(out, "{b:02x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_keep_brackets_together() {
        let mut s = "a, b=1,c:x[2..3] d(e(f,g),h)->i[0],,j";
        let mut got = Vec::new();
        while let Some(p) = next_pair(&mut s).unwrap() {
            got.push((p.key, p.value, p.tail));
        }
        assert_eq!(
            got,
            [
                ("a", "", None),
                ("b", "1", None),
                ("c", "x[2..3]", None),
                ("d", "e(f,g),h", Some("i[0]")),
                ("j", "", None)
            ]
        );
    }

    #[test]
    fn places_are_lines_and_columns() {
        let text = "ok\nsome bad word";
        let e = fault::<()>(&text[8..11], "good").unwrap_err().locate(text);
        assert_eq!(e.to_string(), "line 2, column 6: \"bad\": expected good");
    }

    #[test]
    fn numbers_are_whole() {
        assert_eq!(parse_u128("0x1F"), Some(31));
        assert_eq!(parse_u128("010"), Some(10));
        for bad in ["", "0x", "1x", "-1", "0xg", "340282366920938463463374607431768211456"] {
            assert_eq!(parse_u128(bad), None, "{bad}");
        }
    }

    #[test]
    fn hints_name_the_nearest_word() {
        assert_eq!(nearest("tcp_dts", ["tcp_src", "tcp_dst"].into_iter()).as_deref(), Some("tcp_dst"));
        assert_eq!(nearest("zebra", ["tcp_src"].into_iter()), None);
    }
}
