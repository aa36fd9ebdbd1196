//! Protocol numbers: newtypes over the wire integer with named constants, so that unknown values survive a round trip.

/// Defines a protocol enumeration: a newtype with named constants, printed by name where it has one.
macro_rules! wire_enum {
    ($(#[$m:meta])* $name:ident($t:ty) { $($(#[$cm:meta])* $c:ident = $v:expr),* $(,)? }) => {
        $(#[$m])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub struct $name(pub $t);
        #[allow(missing_docs)]
        impl $name {
            $($(#[$cm])* pub const $c: $name = $name($v);)*
            /// Every named value with its name, in the order of the specification.
            pub const ALL_NAMED: &'static [($name, &'static str)] = &[$(($name($v), stringify!($c))),*];
            /// The specification's name of this value without its prefix, if it has one.
            pub fn name(self) -> Option<&'static str> {
                Self::ALL_NAMED.iter().find(|(v, _)| *v == self).map(|(_, n)| *n)
            }
        }
        impl From<$t> for $name { fn from(v: $t) -> Self { Self(v) } }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.name() { Some(n) => f.pad(n), None => std::fmt::Display::fmt(&self.0, f) }
            }
        }
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { std::fmt::Display::fmt(self, f) }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                match self.name() { Some(n) => s.serialize_str(n), None => s.serialize_u64(self.0 as u64) }
            }
        }
    };
}

/// Defines a set of protocol flags: a newtype with named bits, printed as `A|B|0x80`.
macro_rules! wire_flags {
    ($(#[$m:meta])* $name:ident($t:ty) { $($(#[$cm:meta])* $c:ident = $v:expr),* $(,)? }) => {
        $(#[$m])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub struct $name(pub $t);
        #[allow(missing_docs)]
        impl $name {
            $($(#[$cm])* pub const $c: $name = $name($v);)*
            /// Every named bit with its name.
            pub const ALL_NAMED: &'static [($name, &'static str)] = &[$(($name($v), stringify!($c))),*];
            /// No bit set.
            pub const fn empty() -> Self { Self(0) }
            /// All named bits.
            pub const fn all() -> Self { Self(0 $(| $v)*) }
            /// All bits of `other` are set here.
            pub const fn contains(self, other: Self) -> bool { self.0 & other.0 == other.0 }
            /// Some bit of `other` is set here.
            pub const fn intersects(self, other: Self) -> bool { self.0 & other.0 != 0 }
            /// No bit is set.
            pub const fn is_empty(self) -> bool { self.0 == 0 }
            /// Bits that have no name.
            pub const fn unknown(self) -> $t { self.0 & !Self::all().0 }
        }
        impl From<$t> for $name { fn from(v: $t) -> Self { Self(v) } }
        impl std::ops::BitOr for $name { type Output = Self; fn bitor(self, o: Self) -> Self { Self(self.0 | o.0) } }
        impl std::ops::BitOrAssign for $name { fn bitor_assign(&mut self, o: Self) { self.0 |= o.0 } }
        impl std::ops::BitAnd for $name { type Output = Self; fn bitand(self, o: Self) -> Self { Self(self.0 & o.0) } }
        impl std::ops::Not for $name { type Output = Self; fn not(self) -> Self { Self(!self.0) } }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let mut first = true;
                let mut left = self.0;
                for (bit, name) in Self::ALL_NAMED {
                    if bit.0 != 0 && left & bit.0 == bit.0 {
                        if !first { f.write_str("|")?; }
                        f.write_str(name)?;
                        first = false;
                        left &= !bit.0;
                    }
                }
                if left != 0 || first {
                    if !first { f.write_str("|")?; }
                    write!(f, "{left:#x}")?;
                }
                Ok(())
            }
        }
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { std::fmt::Display::fmt(self, f) }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                let mut names: Vec<String> = Vec::new();
                let mut left = self.0;
                for (bit, name) in Self::ALL_NAMED {
                    if bit.0 != 0 && left & bit.0 == bit.0 { names.push((*name).into()); left &= !bit.0; }
                }
                if left != 0 { names.push(format!("{left:#x}")); }
                serde::Serialize::serialize(&names, s)
            }
        }
    };
}
pub(crate) use {wire_enum, wire_flags};

/// A fixed-size text field (`char name[N]`): kept byte for byte, read up to its first NUL.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FixedStr<const N: usize>(pub [u8; N]);

impl<const N: usize> FixedStr<N> {
    /// The text before the first NUL; bytes that are not UTF-8 are replaced.
    pub fn as_str(&self) -> std::borrow::Cow<'_, str> {
        let end = self.0.iter().position(|&b| b == 0).unwrap_or(N);
        String::from_utf8_lossy(&self.0[..end])
    }
}
impl<const N: usize> Default for FixedStr<N> {
    fn default() -> Self {
        Self([0; N])
    }
}
/// Takes at most `N - 1` bytes (cut at a character), so that the field stays NUL-terminated.
impl<const N: usize> From<&str> for FixedStr<N> {
    fn from(s: &str) -> Self {
        let mut end = s.len().min(N - 1);
        while !s.is_char_boundary(end) {
            end -= 1;
        }
        let mut out = [0; N];
        out[..end].copy_from_slice(&s.as_bytes()[..end]);
        Self(out)
    }
}
impl<const N: usize> std::fmt::Display for FixedStr<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.as_str())
    }
}
impl<const N: usize> std::fmt::Debug for FixedStr<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&self.as_str(), f)
    }
}
impl<const N: usize> serde::Serialize for FixedStr<N> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.as_str())
    }
}

/// Serializes bytes as a string of hexadecimal digits.
pub(crate) fn hex<S: serde::Serializer>(bytes: &impl AsRef<[u8]>, s: S) -> Result<S::Ok, S::Error> {
    use std::fmt::Write;
    let bytes = bytes.as_ref();
    let mut out = String::with_capacity(bytes.len() * 2);
    for b in bytes {
        let _ = write!(out, "{b:02x}");
    }
    s.serialize_str(&out)
}
