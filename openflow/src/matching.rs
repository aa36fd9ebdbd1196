//! `Match`: which packets a flow entry is for (OpenFlow 1.3.5, "Flow Match Structures").

use crate::error::{DecodeError, OfpError};
use crate::field::{Field, Maskable, Prereq, CLASS_EXPERIMENTER};
use crate::ids::PortNo;
use crate::wire::{be_uint, Reader, Writer};
use smallvec::SmallVec;

/// One field of a match, a set-field or a packet-in, known or not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Oxm {
    /// A field of [`crate::field::FIELDS`].
    Known(OxmField),
    /// A field we do not know, kept as it came: parse never loses it, the switch refuses it.
    Unknown(Box<UnknownOxm>),
}

/// A known field with its value; bits outside `mask` are zero in `value` unless the sender left them set
/// (`OFPBMC_BAD_WILDCARDS` is the switch's to say).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OxmField {
    /// The field.
    pub field: Field,
    /// Value, right-aligned.
    pub value: u128,
    /// `None`: no mask on the wire (exact). `Some`: mask as sent, even if all ones.
    pub mask: Option<u128>,
}

/// An OXM TLV outside the table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UnknownOxm {
    /// OXM class.
    pub class: u16,
    /// Field number (7 bits).
    pub number: u8,
    /// HM bit.
    pub has_mask: bool,
    /// Experimenter id where class is 0xffff.
    pub experimenter: u32,
    /// The payload after header (and experimenter id).
    pub body: Vec<u8>,
}

/// An ordered list of match fields: kept in the order sent, so that it can be given back exactly.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Match {
    /// Fields in wire order. One is kept in place: more would make every message that is moved that much larger.
    pub fields: SmallVec<[Oxm; 1]>,
}

impl OxmField {
    /// An exact field.
    pub fn exact(field: Field, value: u128) -> Self {
        Self { field, value, mask: None }
    }
    /// A masked field.
    pub fn masked(field: Field, value: u128, mask: u128) -> Self {
        Self { field, value, mask: Some(mask) }
    }
    /// The mask, all bits of the field if none was sent.
    pub fn full_mask(&self) -> u128 {
        self.mask.unwrap_or_else(|| self.field.def().full_mask())
    }
}

impl From<OxmField> for Oxm {
    fn from(f: OxmField) -> Self {
        Self::Known(f)
    }
}

impl Match {
    /// Matches every packet.
    pub fn new() -> Self {
        Self::default()
    }
    /// With one more exact field.
    pub fn with(mut self, field: Field, value: u128) -> Self {
        self.fields.push(OxmField::exact(field, value).into());
        self
    }
    /// With one more masked field.
    pub fn with_masked(mut self, field: Field, value: u128, mask: u128) -> Self {
        self.fields.push(OxmField::masked(field, value, mask).into());
        self
    }
    /// The known fields, in wire order.
    pub fn known(&self) -> impl Iterator<Item = &OxmField> {
        self.fields.iter().filter_map(|o| match o {
            Oxm::Known(f) => Some(f),
            Oxm::Unknown(_) => None,
        })
    }
    /// The first occurrence of a field.
    pub fn get(&self, field: Field) -> Option<&OxmField> {
        self.known().find(|f| f.field == field)
    }
    /// The `in_port` matched, if any.
    pub fn in_port(&self) -> Option<PortNo> {
        self.get(Field::InPort).map(|f| PortNo(f.value as u32))
    }
}

/// `OFPMT_OXM`: the only match type of OpenFlow 1.3.
pub const OFPMT_OXM: u16 = 1;

impl Oxm {
    /// One TLV: `class:16 | field:7 | hasmask:1 | length:8 | [experimenter:32] | value | [mask]`.
    ///
    /// # Errors
    /// `OFPBMC_BAD_LEN` where the length is not the field's, or the bytes are not there.
    #[inline]
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = *r;
        let header = r.u32("oxm_header")?;
        let (class, number) = ((header >> 16) as u16, (header >> 9 & 0x7f) as u8);
        let has_mask = header & 0x100 != 0;
        let mut len = (header & 0xff) as usize;
        let mut experimenter = 0;
        if class == CLASS_EXPERIMENTER {
            if len < 4 {
                return Err(start.bad_len("oxm_length", "at least 4 (experimenter id)", len));
            }
            experimenter = r.u32("oxm_experimenter")?;
            len -= 4;
        }
        let Some(field) = Field::from_wire(class, number, experimenter) else {
            let body = r.bytes(len, "oxm_value")?.to_vec();
            return Ok(Self::Unknown(Box::new(UnknownOxm { class, number, has_mask, experimenter, body })));
        };
        let n = field.def().bytes();
        if len != n << has_mask as usize {
            return Err(start.bad_len("oxm_length", format!("{} for {field}", n << has_mask as usize), len));
        }
        let value = r.uint(n, "oxm_value")?;
        let mask = if has_mask { Some(r.uint(n, "oxm_mask")?) } else { None };
        Ok(Self::Known(OxmField { field, value, mask }))
    }

    /// The TLV's bytes.
    #[inline]
    pub fn emit(&self, w: &mut Writer<'_>) {
        match self {
            Self::Known(f) => f.emit(w),
            Self::Unknown(u) => {
                let UnknownOxm { class, number, has_mask, experimenter, body } = &**u;
                let exp = *class == CLASS_EXPERIMENTER;
                let len = body.len() + if exp { 4 } else { 0 };
                if len > 0xff {
                    w.set_overflow();
                }
                w.u16(*class);
                w.u8(number << 1 | *has_mask as u8);
                w.u8(len as u8);
                if exp {
                    w.u32(*experimenter);
                }
                w.bytes(body);
            }
        }
    }
}

impl OxmField {
    /// A known field of the right length at the start of `b`, and how long it is. Anything else is for [`Oxm::parse`], which
    /// knows what to say of it: this is the way of nearly all fields, without its bookkeeping.
    #[inline]
    fn parse_quick(b: &[u8]) -> Option<(Self, usize)> {
        let header = u32::from_be_bytes(*b.first_chunk()?);
        let class = (header >> 16) as u16;
        let (experimenter, at) = match class {
            CLASS_EXPERIMENTER => (u32::from_be_bytes(*b.get(4..)?.first_chunk()?), 8),
            _ => (0, 4),
        };
        let field = Field::from_wire(class, (header >> 9 & 0x7f) as u8, experimenter)?;
        let n = field.def().bytes();
        let has_mask = header & 0x100 != 0;
        let end = at + (n << has_mask as usize);
        if end != 4 + (header & 0xff) as usize {
            return None;
        }
        let (value, mask) = b.get(at..end)?.split_at(n);
        let mask = if has_mask { Some(be_uint(mask)) } else { None };
        Some((Self { field, value: be_uint(value), mask }, end))
    }
    /// The field's TLV under its preferred id.
    #[inline]
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { field, value, mask } = self;
        let d = field.def();
        let n = d.bytes();
        let exp = d.class == CLASS_EXPERIMENTER;
        w.u32(d.oxm_header(mask.is_some()));
        if exp {
            w.u32(d.experimenter);
        }
        w.uint(*value, n);
        if let Some(mask) = mask {
            w.uint(*mask, n);
        }
    }
}

impl Match {
    /// `type:2 | length:2 | fields`, padded to 8 bytes.
    ///
    /// # Errors
    /// `OFPBMC_BAD_TYPE` unless the type is OXM, `OFPBMC_BAD_LEN` where lengths do not agree.
    #[inline]
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if let Some((m, used)) = Self::parse_quick(r.peek()) {
            r.skip(used);
            return Ok(m);
        }
        let mut m = r.with_bad_len(OfpError::OFPBMC_BAD_LEN);
        let kind = m.u16("match_type")?;
        if kind != OFPMT_OXM {
            return Err(r.fault(OfpError::OFPBMC_BAD_TYPE, "match_type", "1 (OXM)", kind));
        }
        let at = m;
        let len = m.u16("match_length")? as usize;
        if len < 4 {
            return Err(at.bad_len("match_length", "at least 4", len));
        }
        let fields = Self::parse_fields(m.sub(len - 4, "oxm_fields")?)?;
        m.pad8(len)?;
        let used = m.offset() - r.offset();
        r.bytes(used, "match")?;
        Ok(fields)
    }
    /// A match of known fields at the start of `b`, and how long it is with its padding; else [`Match::parse`] goes the long way.
    #[inline]
    fn parse_quick(b: &[u8]) -> Option<(Self, usize)> {
        let [k0, k1, l0, l1] = *b.first_chunk()?;
        let len = u16::from_be_bytes([l0, l1]) as usize;
        let padded = (len + 7) & !7;
        if u16::from_be_bytes([k0, k1]) != OFPMT_OXM || padded > b.len() {
            return None;
        }
        let mut rest = b.get(4..len)?;
        // A usual field takes 8 bytes or more, so this is mostly enough at once, and never more than 8 times the input.
        let mut fields = SmallVec::with_capacity(rest.len() / 8);
        while !rest.is_empty() {
            let (field, used) = OxmField::parse_quick(rest)?;
            fields.push(Oxm::Known(field));
            rest = &rest[used..];
        }
        Some((Self { fields }, padded))
    }
    /// The fields alone, without header or padding: all of `r`.
    #[inline]
    pub fn parse_fields(r: Reader<'_>) -> Result<Self, DecodeError> {
        let mut r = r.with_bad_len(OfpError::OFPBMC_BAD_LEN);
        let mut fields = SmallVec::with_capacity(r.remaining() / 8);
        while !r.is_empty() {
            fields.push(Oxm::parse(&mut r)?);
        }
        Ok(Self { fields })
    }
    /// With header and padding.
    #[inline]
    pub fn emit(&self, w: &mut Writer<'_>) {
        let start = w.pos();
        w.u16(OFPMT_OXM);
        let at = w.len_later();
        self.emit_fields(w);
        w.set_len(at, start);
        w.pad8(start);
    }
    /// The fields alone.
    #[inline]
    pub fn emit_fields(&self, w: &mut Writer<'_>) {
        for f in &self.fields {
            f.emit(w);
        }
    }

    /// Is this a match a flow table may hold? Fields known and once, values and masks in range, prerequisites there.
    /// The order of fields does not matter.
    ///
    /// # Errors
    /// `OFPBMC_BAD_FIELD`, `_DUP_FIELD`, `_BAD_VALUE`, `_BAD_MASK`, `_BAD_WILDCARDS`, `_BAD_PREREQ`.
    pub fn validate(&self) -> Result<(), MatchError> {
        let mut seen = [0u64; 4];
        for o in &self.fields {
            let f = match o {
                Oxm::Known(f) => f,
                Oxm::Unknown(u) => {
                    return Err(MatchError {
                        code: OfpError::OFPBMC_BAD_FIELD,
                        field: format!("field {} of class {:#06x}", u.number, u.class),
                        why: "is not known",
                    })
                }
            };
            let err = |code, why| Err(MatchError { code, field: f.field.to_string(), why });
            let (word, bit) = (f.field as usize / 64, 1u64 << (f.field as usize % 64));
            if seen[word] & bit != 0 {
                return err(OfpError::OFPBMC_DUP_FIELD, "is there twice");
            }
            seen[word] |= bit;
            let d = f.field.def();
            let full = d.full_mask();
            match f.mask {
                // Of a field without masks only the mask of all bits is taken, which says the same as none ("OXM Matching"; Open vSwitch
                // takes it, too).
                Some(m) if d.maskable == Maskable::No && m != full => {
                    return err(OfpError::OFPBMC_BAD_MASK, "cannot be masked")
                }
                Some(m) if m & !full != 0 => {
                    return err(OfpError::OFPBMC_BAD_MASK, "has a mask wider than itself")
                }
                Some(m) if f.value & !m != 0 => {
                    return err(OfpError::OFPBMC_BAD_WILDCARDS, "has value bits outside its mask")
                }
                _ => {}
            }
            if f.value & !full != 0 {
                return err(OfpError::OFPBMC_BAD_VALUE, "has a value wider than itself");
            }
            if f.field == Field::VlanVid && f.mask.is_none() && f.value & 0x1000 == 0 && f.value != 0 {
                return err(OfpError::OFPBMC_BAD_VALUE, "lacks the present bit 0x1000");
            }
            if !self.satisfies(d.prereq) {
                return err(OfpError::OFPBMC_BAD_PREREQ, "needs a field that is not matched");
            }
        }
        Ok(())
    }

    /// Is a prerequisite met by this match?
    pub fn satisfies(&self, p: Prereq) -> bool {
        let exact = |f: Field| self.get(f).filter(|o| o.full_mask() == f.def().full_mask()).map(|o| o.value);
        let eth_type = |types: &[u128]| exact(Field::EthType).is_some_and(|t| types.contains(&t));
        let ip_proto = |n: u128| eth_type(&[0x0800, 0x86dd]) && exact(Field::IpProto) == Some(n);
        let icmpv6 = |types: &[u128]| {
            eth_type(&[0x86dd])
                && exact(Field::IpProto) == Some(58)
                && exact(Field::Icmpv6Type).is_some_and(|t| types.contains(&t))
        };
        match p {
            Prereq::None => true,
            Prereq::InPort => self.get(Field::InPort).is_some(),
            Prereq::Vlan => {
                self.get(Field::VlanVid).is_some_and(|v| v.value & v.full_mask() & 0x1000 != 0)
                    || self.get(Field::VlanTci).is_some_and(|v| v.value & v.full_mask() & 0x1000 != 0)
            }
            Prereq::Ip => eth_type(&[0x0800, 0x86dd]),
            Prereq::Ipv4 => eth_type(&[0x0800]),
            Prereq::Ipv6 => eth_type(&[0x86dd]),
            Prereq::Arp => eth_type(&[0x0806, 0x8035]),
            Prereq::Tcp => ip_proto(6),
            Prereq::Udp => ip_proto(17),
            Prereq::Sctp => ip_proto(132),
            Prereq::Icmpv4 => eth_type(&[0x0800]) && exact(Field::IpProto) == Some(1),
            Prereq::Icmpv6 => eth_type(&[0x86dd]) && exact(Field::IpProto) == Some(58),
            Prereq::Nd => icmpv6(&[135, 136]),
            Prereq::NdSol => icmpv6(&[135]),
            Prereq::NdAdv => icmpv6(&[136]),
            Prereq::Mpls => eth_type(&[0x8847, 0x8848]),
            Prereq::Pbb => eth_type(&[0x88e7]),
            Prereq::Nsh => eth_type(&[0x894f]),
        }
    }
}

/// Why a match is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {why} [{code}]")]
pub struct MatchError {
    /// The error to answer with.
    pub code: OfpError,
    /// The field at fault.
    pub field: String,
    /// What is wrong with it.
    pub why: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::FIELDS;

    fn code(m: &Match) -> Option<OfpError> {
        m.validate().err().map(|e| e.code)
    }

    #[test]
    fn validate_gives_the_specified_code() {
        use OfpError as E;
        let ip = || Match::new().with(Field::EthType, 0x0800);
        assert_eq!(code(&Match::new()), None);
        assert_eq!(code(&ip().with(Field::IpProto, 6).with(Field::TcpDst, 80)), None);
        assert_eq!(code(&Match::new().with(Field::TcpDst, 80)), Some(E::OFPBMC_BAD_PREREQ));
        assert_eq!(code(&ip().with(Field::IpProto, 17).with(Field::TcpDst, 80)), Some(E::OFPBMC_BAD_PREREQ));
        assert_eq!(code(&ip().with(Field::EthType, 0x0800)), Some(E::OFPBMC_DUP_FIELD));
        for d in crate::field::FIELDS.iter().filter(|d| d.maskable == Maskable::No) {
            for mask in [0, 1, d.full_mask() - 1].into_iter().filter(|m| *m != d.full_mask()) {
                let m = Match::new().with_masked(d.field, 0, mask);
                assert_eq!(code(&m), Some(E::OFPBMC_BAD_MASK), "{} under {mask:#x}", d.name);
            }
            let whole = Match::new().with_masked(d.field, 0, d.full_mask());
            assert_eq!(code(&whole), code(&Match::new().with(d.field, 0)), "{} under all bits", d.name);
        }
        assert_eq!(
            code(&ip().with_masked(Field::Ipv4Src, 0x0a00_0001, 0xff00_0000)),
            Some(E::OFPBMC_BAD_WILDCARDS)
        );
        assert_eq!(code(&Match::new().with(Field::VlanVid, 5)), Some(E::OFPBMC_BAD_VALUE));
        assert_eq!(code(&Match::new().with(Field::VlanVid, 0)), None);
        assert_eq!(
            code(&Match::new().with(Field::VlanVid, 0).with(Field::VlanPcp, 1)),
            Some(E::OFPBMC_BAD_PREREQ)
        );
        assert_eq!(
            code(&Match::new().with_masked(Field::VlanVid, 0x1000, 0x1000).with(Field::VlanPcp, 1)),
            None
        );
        assert_eq!(code(&ip().with(Field::IpDscp, 64)), Some(E::OFPBMC_BAD_VALUE));
        assert_eq!(code(&Match::new().with_masked(Field::VlanVid, 0x1000, 0x3000)), Some(E::OFPBMC_BAD_MASK));
        let mut m = Match::new();
        m.fields.push(Oxm::Unknown(Box::new(UnknownOxm {
            class: 0x8000,
            number: 100,
            has_mask: false,
            experimenter: 0,
            body: vec![1],
        })));
        assert_eq!(code(&m), Some(E::OFPBMC_BAD_FIELD));
    }

    #[test]
    fn every_field_parses_as_emitted_and_refuses_other_lengths() {
        for d in FIELDS {
            for mask in [None, Some(d.full_mask() >> 1)] {
                let f =
                    Oxm::Known(OxmField { field: d.field, value: d.full_mask() & 0x5555_5555_5555, mask });
                let mut b = bytes::BytesMut::new();
                f.emit(&mut Writer::new(&mut b));
                assert_eq!(Oxm::parse(&mut Reader::new(&b)).unwrap(), f, "{}", d.name);
                for cut in 0..b.len() {
                    let e = Oxm::parse(&mut Reader::new(&b[..cut])).unwrap_err();
                    assert!(e.offset <= cut);
                }
                b[3] += 1;
                b.extend_from_slice(&[0]);
                let e = Oxm::parse(&mut Reader::new(&b).with_bad_len(OfpError::OFPBMC_BAD_LEN)).unwrap_err();
                assert_eq!(e.code, OfpError::OFPBMC_BAD_LEN, "{}", d.name);
            }
        }
    }

    #[test]
    fn match_is_padded_and_its_length_is_not() {
        let m = Match::new().with(Field::InPort, 7);
        let mut b = bytes::BytesMut::new();
        m.emit(&mut Writer::new(&mut b));
        assert_eq!(&b[..], [0, 1, 0, 12, 0x80, 0, 0, 4, 0, 0, 0, 7, 0, 0, 0, 0]);
        assert_eq!(Match::parse(&mut Reader::new(&b)).unwrap(), m);
        b[1] = 0;
        assert_eq!(Match::parse(&mut Reader::new(&b)).unwrap_err().code, OfpError::OFPBMC_BAD_TYPE);
    }
}
