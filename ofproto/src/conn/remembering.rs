//! A [`Backend`] for tests of what stands before the tables (feature `testing`): it only remembers flow-mods, and is as slow to have
//! workers obey as a test wants.

use super::bundled::Bundled;
use super::manager::{Backend, ConnId};
use crate::rule::{Interner, Place};
use openflow::msg::multipart::{FlowStats, FlowStatsRequest};
use openflow::msg::{
    BundleFlags, ConfigFlags, FeaturesReply, FlowMod, FlowModCommand, Message, OfMessage, SwitchConfig,
};
use openflow::OfpError;
use std::collections::BTreeMap;
use std::time::Instant;

/// See the module.
#[derive(Debug, Clone)]
pub struct Remembering {
    /// Flow-mods by place: their priority, or one after the other ([`Remembering::by_priority`]).
    pub flows: BTreeMap<u64, FlowMod>,
    /// What was published last.
    pub version: u64,
    /// What workers obey.
    pub synced: u64,
    /// Workers obey only when the test sets `synced`, not at once.
    pub lag: bool,
    /// An entry takes the place of one of its priority, and what is no add takes one away. Otherwise all flow-mods are kept, in order.
    pub by_priority: bool,
    /// Entries at most.
    pub most: usize,
    /// Flow-mods that are refused (as if a table were full).
    pub refuse: fn(&FlowMod) -> bool,
    /// Requests that came with what was found out ahead.
    pub expected: usize,
}

impl Default for Remembering {
    fn default() -> Self {
        Self {
            flows: BTreeMap::new(),
            version: 0,
            synced: 0,
            lag: false,
            by_priority: false,
            most: usize::MAX,
            refuse: |_| false,
            expected: 0,
        }
    }
}

impl Remembering {
    /// Holds entries with these cookies and nothing else.
    pub fn set_cookies(&mut self, cookies: impl IntoIterator<Item = u64>) {
        let flow = |cookie| FlowMod { cookie, ..FlowMod::default() };
        self.flows = (0..).zip(cookies.into_iter().map(flow)).collect();
    }
    /// The cookies of all entries, in order.
    pub fn cookies(&self) -> Vec<u64> {
        self.flows.values().map(|f| f.cookie).collect()
    }
}

impl Backend for Remembering {
    type Cursor = u64;
    fn expect(&self, msg: &OfMessage) -> Option<Place> {
        let Message::FlowMod(f) = &msg.body else { return None };
        Interner::default().place(&f.matching)
    }
    /// What was found out ahead must be of this request.
    fn handle(
        &mut self,
        _: Instant,
        _: ConnId,
        msg: &OfMessage,
        place: Option<Place>,
        replies: &mut Vec<Message>,
    ) -> Result<(), OfpError> {
        if let Some(p) = place {
            self.expected += 1;
            assert_eq!(Some(p.values), self.expect(msg).map(|own| own.values), "of another message: {msg:?}");
        }
        match &msg.body {
            Message::FlowMod(f) if (self.refuse)(f) || self.flows.len() >= self.most => {
                return Err(OfpError::OFPFMFC_TABLE_FULL)
            }
            Message::FlowMod(f) if self.by_priority && f.command != FlowModCommand::ADD => {
                self.flows.remove(&f.priority.into());
            }
            Message::FlowMod(f) => {
                let next = self.flows.last_key_value().map_or(0, |(at, _)| at + 1);
                self.flows.insert(if self.by_priority { f.priority.into() } else { next }, f.clone());
            }
            Message::FeaturesRequest => replies.push(FeaturesReply::default().into()),
            Message::GetConfigRequest => {
                let config = SwitchConfig { flags: ConfigFlags(0), miss_send_len: 128 };
                replies.push(Message::GetConfigReply(config));
            }
            Message::SetConfig(_) => {}
            _ => return Err(OfpError::OFPBRC_BAD_TYPE),
        }
        Ok(())
    }
    fn handle_bundle(
        &mut self,
        now: Instant,
        from: ConnId,
        msgs: &Bundled,
        _: BundleFlags,
    ) -> Result<(), (usize, OfpError)> {
        let before = self.flows.clone();
        for (i, m) in msgs.iter().enumerate() {
            if let Err(e) = self.handle(now, from, &m, None, &mut Vec::new()) {
                self.flows = before;
                return Err((i, e));
            }
        }
        Ok(())
    }
    fn dump_flows(
        &mut self,
        _: Instant,
        _: &FlowStatsRequest,
        cursor: &mut u64,
        max: usize,
        out: &mut Vec<FlowStats>,
    ) -> bool {
        for (at, f) in self.flows.range(*cursor..).take(max) {
            out.push(FlowStats { priority: f.priority, cookie: f.cookie, ..FlowStats::default() });
            *cursor = at + 1;
        }
        self.flows.range(*cursor..).next().is_some()
    }
    fn publish(&mut self) -> u64 {
        self.version += 1;
        if !self.lag {
            self.synced = self.version;
        }
        self.version
    }
    fn synced(&mut self) -> u64 {
        self.synced
    }
}
