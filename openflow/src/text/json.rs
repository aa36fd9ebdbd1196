//! The same facts for machines: one JSON schema for every `--json` (docs/json.md).
//!
//! Names are the specification's fields in `snake_case`. A match is an object of field name to value in words, actions
//! are their words, so that whatever comes out can be read again by [`super::parse_match`] and [`super::parse_actions`].

use super::action::push_action;
use super::matching::push_unknown;
use super::value::push_value;
use super::{print, NoNames};
use crate::action::Action;
use crate::field::Field;
use crate::instruction::Instruction;
use crate::matching::{Match, Oxm, OxmField};
use crate::msg::{Message, OfMessage};
use serde::ser::{SerializeMap, Serializer};
use serde::Serialize;
use serde_json::{json, Value};

/// Serializes a datapath id as 16 hexadecimal digits.
pub(crate) fn dpid<S: Serializer>(v: &u64, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&format!("{v:016x}"))
}

fn value_of(f: &OxmField) -> String {
    let mut out = String::new();
    push_value(&mut out, f.field.def(), f.value, f.mask, &NoNames);
    out
}

impl Serialize for Match {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(None)?;
        let mut seen = [false; 256];
        for o in &self.fields {
            match o {
                // A field sent twice is wrong, and an object has each name once: the first counts.
                Oxm::Known(f) => {
                    // Nicira's 16-bit in_port has the same name.
                    let name_of = if f.field == Field::NxInPort { Field::InPort } else { f.field };
                    if !std::mem::replace(&mut seen[name_of as usize], true) {
                        map.serialize_entry(f.field.def().name, &value_of(f))?;
                    }
                }
                Oxm::Unknown(u) => {
                    let mut words = String::new();
                    push_unknown(&mut words, u);
                    map.serialize_entry(&format!("oxm_{:#x}_{}", u.class, u.number), &words)?;
                }
            }
        }
        map.end()
    }
}

impl Serialize for Oxm {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut m = Match::default();
        m.fields.push(self.clone());
        m.serialize(s)
    }
}

impl Serialize for OxmField {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        Oxm::Known(*self).serialize(s)
    }
}

impl Serialize for Action {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut out = String::new();
        push_action(&mut out, self, &NoNames);
        s.serialize_str(&out)
    }
}

impl Serialize for Instruction {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(1))?;
        match self {
            Self::GotoTable(t) => map.serialize_entry("goto_table", t)?,
            Self::WriteMetadata { metadata, mask } => {
                map.serialize_entry("write_metadata", &format!("{metadata:#x}/{mask:#x}"))?;
            }
            Self::WriteActions(a) => map.serialize_entry("write_actions", a)?,
            Self::ApplyActions(a) => map.serialize_entry("apply_actions", a)?,
            Self::ClearActions => map.serialize_entry("clear_actions", &true)?,
            Self::Meter(m) => map.serialize_entry("meter", m)?,
            Self::Experimenter { .. } | Self::Unknown { .. } => {
                map.serialize_entry("other", &super::print_instructions(std::slice::from_ref(self)))?;
            }
        }
        map.end()
    }
}

/// Any part of a message (a flow, a port, a group, ...) as JSON.
pub fn value<T: Serialize + ?Sized>(part: &T) -> Value {
    serde_json::to_value(part).unwrap_or(Value::Null)
}

/// A whole message: `{"type": "OFPT_FLOW_MOD", "version": 4, "xid": 1, "body": {...}}`.
pub fn to_json(m: &OfMessage) -> Value {
    let mut body = inner(value(&m.body));
    let mut out = json!({ "type": print::name(&m.body), "version": m.version, "xid": m.xid.0 });
    if matches!(m.body, Message::MultipartRequest(_) | Message::MultipartReply(_)) {
        if let Some(b) = body.as_object_mut() {
            let more =
                b.get("flags").and_then(Value::as_array).is_some_and(|f| f.iter().any(|f| f == "MORE"));
            out["more"] = more.into();
            let b = b.remove("body").unwrap_or(Value::Null);
            body = inner(b);
        }
    }
    if let (Message::Error(e), Some(b)) = (&m.body, body.as_object_mut()) {
        b.insert("error".into(), print::error_name(e.error).into());
        b.insert("error_type".into(), e.error.kind.into());
        b.insert("error_code".into(), e.error.code.into());
    }
    if let (Message::BundleAdd(a), Some(b)) = (&m.body, body.as_object_mut()) {
        b.insert("message".into(), to_json(&a.message));
    }
    if let Message::Nicira(_) = &m.body {
        body = inner(body);
    }
    out["body"] = body;
    out
}

/// What an enum's variant holds: serde wraps it into an object of one key, or writes the bare name.
fn inner(v: Value) -> Value {
    match v {
        Value::Object(m) if m.len() == 1 => m.into_iter().next().map_or(Value::Null, |(_, v)| v),
        Value::String(_) => json!({}),
        v => v,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{parse_flow, parse_match};
    use super::*;
    use crate::msg::multipart::{MultipartFlags, RequestBody};
    use crate::msg::{FlowModCommand, MultipartRequest};

    #[test]
    fn a_flow_mod_has_stable_names() {
        let text = "table=1,priority=5,tcp,in_port=1,nw_src=10.0.0.0/8,actions=meter:3,output:2,goto_table:4";
        let f = parse_flow(text, FlowModCommand::ADD, &NoNames).unwrap();
        let j = to_json(&OfMessage::new(7u32, f));
        assert_eq!(j["type"], "OFPT_FLOW_MOD");
        assert_eq!(j["xid"], 7);
        let b = &j["body"];
        assert_eq!(b["command"], "ADD");
        assert_eq!(b["priority"], 5);
        assert_eq!(
            b["match"],
            json!({"in_port": "1", "eth_type": "0x800", "ip_proto": "6", "ipv4_src": "10.0.0.0/8"})
        );
        assert_eq!(
            b["instructions"],
            json!([{"meter": 3}, {"apply_actions": ["output:2"]}, {"goto_table": 4}])
        );
    }

    #[test]
    fn a_match_can_be_read_back_from_its_object() {
        let m = parse_match("ipv6,dl_vlan=5,ipv6_src=fe80::/10,metadata=1/3", &NoNames).unwrap();
        let j = value(&m);
        let words: Vec<String> =
            j.as_object().unwrap().iter().map(|(k, v)| format!("{k}={}", v.as_str().unwrap())).collect();
        assert_eq!(parse_match(&words.join(","), &NoNames).unwrap(), m);
    }

    #[test]
    fn requests_without_body_are_empty_objects() {
        assert_eq!(to_json(&OfMessage::new(1u32, Message::BarrierRequest))["body"], json!({}));
        let r = MultipartRequest { flags: MultipartFlags(1), body: RequestBody::Desc };
        let j = to_json(&OfMessage::new(1u32, r));
        assert_eq!(
            (&j["type"], &j["more"], &j["body"]),
            (&json!("OFPST_DESC request"), &json!(true), &json!({}))
        );
    }
}
