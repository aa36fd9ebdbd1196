//! The switch: bridges, the datapath below them, and what happens between a change and its effect (skeleton of the API).

use crate::api::{BridgeConfig, BridgeId, ConfigError, MegaflowDump, PortSpec, Waker};
use crate::conn::manager::{Backend, ConnId, Event};
use datapath::{Datapath, DatapathConfig};
use openflow::msg::multipart::{FlowStats, FlowStatsRequest, PortStats};
use openflow::msg::BundleFlags;
use openflow::port::Port;
use openflow::{Message, OfMessage, OfpError, PortNo};
use std::sync::Arc;
use std::time::Instant;

/// All bridges of the process and their datapath. Driven by one control thread.
pub struct Switch {}

/// One bridge, borrowed: what [`crate::conn::manager`] drives.
pub struct BridgeView<'a> {
    /// The switch.
    pub switch: &'a mut Switch,
    /// Which bridge.
    pub id: BridgeId,
}

/// Where a dump of flows stands; holds on to the tables as they were when it started.
#[derive(Default)]
pub struct FlowCursor {}

#[allow(unused_variables, clippy::unimplemented, missing_docs)]
impl Switch {
    /// Starts the datapath. `waker` is called when [`Switch::run`] should be.
    ///
    /// # Errors
    /// What the datapath says.
    pub fn new(config: DatapathConfig, waker: Waker, now: Instant) -> Result<Self, ConfigError> {
        unimplemented!()
    }
    /// The datapath below, for pmd-stats-show and the like.
    pub fn datapath(&self) -> &Arc<Datapath> {
        unimplemented!()
    }
    /// Makes a bridge.
    pub fn add_bridge(&mut self, now: Instant, config: BridgeConfig) -> Result<BridgeId, ConfigError> {
        unimplemented!()
    }
    /// Removes a bridge with its ports.
    pub fn del_bridge(&mut self, now: Instant, name: &str) -> Result<(), ConfigError> {
        unimplemented!()
    }
    /// The bridge of a name.
    pub fn bridge(&self, name: &str) -> Option<BridgeId> {
        unimplemented!()
    }
    /// All bridges.
    pub fn bridges(&self) -> Vec<(BridgeId, BridgeConfig)> {
        unimplemented!()
    }
    /// The [`Backend`] of a bridge.
    pub fn view(&mut self, id: BridgeId) -> BridgeView<'_> {
        BridgeView { switch: self, id }
    }
    /// Timers, repair of caches, reports of workers. To be called after each slice of work, when woken, and at the time returned.
    pub fn run(&mut self, now: Instant) -> Option<Instant> {
        unimplemented!()
    }
    /// The next event for controllers of a bridge.
    pub fn next_event(&mut self) -> Option<(BridgeId, Event)> {
        unimplemented!()
    }
    /// Whether [`Event::FlowChange`] is wanted.
    pub fn set_monitored(&mut self, bridge: BridgeId, on: bool) {
        unimplemented!()
    }
    /// Whether some controller is connected (fail-mode `standalone` acts while none is).
    pub fn set_controllers_connected(&mut self, now: Instant, bridge: BridgeId, on: bool) {
        unimplemented!()
    }
    /// Changes the fail mode.
    pub fn set_standalone(&mut self, now: Instant, bridge: BridgeId, on: bool) {
        unimplemented!()
    }
    /// Adds a port; the error is one clear line, and nothing has changed then.
    pub fn add_port(
        &mut self,
        now: Instant,
        bridge: BridgeId,
        spec: PortSpec,
    ) -> Result<PortNo, ConfigError> {
        unimplemented!()
    }
    /// Removes a port.
    pub fn del_port(&mut self, now: Instant, bridge: BridgeId, name: &str) -> Result<(), ConfigError> {
        unimplemented!()
    }
    /// The ports with what they were made from.
    pub fn ports(&self, bridge: BridgeId) -> Vec<(PortSpec, Port)> {
        unimplemented!()
    }
    /// Counters of the ports.
    pub fn port_stats(&mut self, now: Instant, bridge: BridgeId) -> Vec<PortStats> {
        unimplemented!()
    }
    /// The path of a packet through the tables as `ovs-appctl ofproto/trace` draws it. `packet`: a flow in words, or
    /// hexadecimal bytes after `in_port=N`.
    pub fn trace(&mut self, now: Instant, bridge: BridgeId, packet: &str) -> Result<String, String> {
        unimplemented!()
    }
    /// The cached decisions.
    pub fn dump_megaflows(&mut self, now: Instant, bridge: Option<BridgeId>) -> Vec<MegaflowDump> {
        unimplemented!()
    }
    /// Packets that ended without output, by reason (ours and the datapath's).
    pub fn drops(&mut self) -> Vec<(String, u64)> {
        unimplemented!()
    }
    /// State of the slow path in words.
    pub fn upcall_show(&mut self) -> String {
        unimplemented!()
    }
    /// Sizes of what is kept, by name.
    pub fn memory(&mut self) -> Vec<(String, u64)> {
        unimplemented!()
    }
}

#[allow(unused_variables, clippy::unimplemented)]
impl Backend for BridgeView<'_> {
    type Cursor = FlowCursor;
    fn handle(
        &mut self,
        now: Instant,
        from: ConnId,
        msg: &OfMessage,
        replies: &mut Vec<Message>,
    ) -> Result<(), OfpError> {
        unimplemented!()
    }
    fn handle_bundle(
        &mut self,
        now: Instant,
        from: ConnId,
        msgs: &[OfMessage],
        flags: BundleFlags,
    ) -> Result<(), (usize, OfpError)> {
        unimplemented!()
    }
    fn dump_flows(
        &mut self,
        now: Instant,
        request: &FlowStatsRequest,
        cursor: &mut FlowCursor,
        max: usize,
        out: &mut Vec<FlowStats>,
    ) -> bool {
        unimplemented!()
    }
    fn publish(&mut self) -> u64 {
        unimplemented!()
    }
    fn synced(&self) -> u64 {
        unimplemented!()
    }
}
