//! `NORMAL`: a learning switch (IEEE 802.1Q, one MAC table per VLAN).

use super::{Credit, Dep, Reason, World, Xlate};
use datapath::flow_key::off;
use openflow::PortNo;

impl<W: World> Xlate<'_, '_, W> {
    /// Learns the source, and forwards to where the destination was seen, else everywhere.
    pub(super) fn normal(&mut self) {
        self.look(off::ETH_DST, 6, u128::MAX >> 80);
        self.look(off::ETH_SRC, 6, u128::MAX >> 80);
        self.look(off::VLAN0_TCI, 2, 0x1fff);
        let mac = |v: u128| -> [u8; 6] { std::array::from_fn(|i| (v >> (40 - 8 * i)) as u8) };
        let (dst, src) = (mac(self.flow.get(off::ETH_DST, 6)), mac(self.flow.get(off::ETH_SRC, 6)));
        let vlan = self.flow.u16(off::VLAN0_TCI) & 0x0fff;
        let in_port = PortNo(self.flow.in_port());
        if dst[..5] == [0x01, 0x80, 0xc2, 0, 0] && dst[5] & 0xf0 == 0 {
            return self.end(Reason::ReservedMulticast);
        }
        // A packet-out from CONTROLLER teaches nothing: it has no port to be reached by.
        if src[0] & 1 == 0 && (in_port.0 <= PortNo::MAX.0 || in_port == PortNo::LOCAL) {
            if self.side_effects {
                self.world.mac_learn(self.bridge, vlan, src, in_port);
            }
            self.credits.push(Credit::Mac(self.bridge, vlan, src, in_port));
            self.deps.push(Dep::Mac(self.bridge, vlan, src));
        }
        if dst[0] & 1 == 0 {
            self.deps.push(Dep::Mac(self.bridge, vlan, dst));
            if let Some(port) = self.world.mac_lookup(self.bridge, vlan, dst) {
                self.note(&format!("forwarding to learned port {}", port.0));
                if port == in_port {
                    return self.end(Reason::InputPort);
                }
                return self.send(port);
            }
            self.note("no learned MAC for destination, flooding");
        }
        self.flood(|_| true);
    }
}
