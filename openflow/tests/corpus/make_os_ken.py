#!/usr/bin/env python3
"""Messages as os-ken (PyPI: os-ken) encodes them, one `name hex` line each: python make_os_ken.py > os_ken.hex"""
import sys

from os_ken.ofproto import ofproto_v1_3 as o
from os_ken.ofproto import ofproto_v1_3_parser as p
from os_ken.ofproto.ofproto_protocol import ProtocolDesc

dp = ProtocolDesc(version=4)
xid = 0


def out(name, msg):
    global xid
    xid += 1
    try:
        msg.set_xid(xid)
        msg.serialize()
    except Exception as e:  # an encoder that os-ken lacks
        print(f"# {name}: {type(e).__name__} {e}", file=sys.stderr)
        return
    print(name, bytes(msg.buf).hex())


def flow(name, match=None, inst=None, **kw):
    out(name, p.OFPFlowMod(dp, match=match or p.OFPMatch(), instructions=inst or [], **kw))


def apply(name, action, **match):
    flow(name, p.OFPMatch(**match), [p.OFPInstructionActions(o.OFPIT_APPLY_ACTIONS, [action])])


out("hello", p.OFPHello(dp))
out("hello_bitmap", p.OFPHello(dp, [p.OFPHelloElemVersionBitmap([1, 4])]))
out("error", p.OFPErrorMsg(dp, type_=1, code=6, data=b"0123456789"))
out("echo_request", p.OFPEchoRequest(dp, b"abc"))
out("echo_reply", p.OFPEchoReply(dp, b"abc"))
out("experimenter", p.OFPExperimenter(dp, 0xabcdef, 7, b"data"))
out("features_request", p.OFPFeaturesRequest(dp))
out("get_config", p.OFPGetConfigRequest(dp))
out("set_config", p.OFPSetConfig(dp, o.OFPC_FRAG_NORMAL, 0xffff))
out("packet_out", p.OFPPacketOut(dp, buffer_id=o.OFP_NO_BUFFER, in_port=o.OFPP_CONTROLLER,
                                 actions=[p.OFPActionOutput(o.OFPP_FLOOD)], data=b"x" * 60))
out("port_mod", p.OFPPortMod(dp, 3, "02:00:00:00:00:01", 1, 1, 0x840))
out("table_mod", p.OFPTableMod(dp, 3, 0))
out("barrier_request", p.OFPBarrierRequest(dp))
out("queue_get_config", p.OFPQueueGetConfigRequest(dp, 3))
out("role_request", p.OFPRoleRequest(dp, o.OFPCR_ROLE_MASTER, 5))
out("get_async", p.OFPGetAsyncRequest(dp))
out("set_async", p.OFPSetAsync(dp, [7, 0], [7, 7], [15, 0]))
out("desc", p.OFPDescStatsRequest(dp, 0))
out("flow_stats", p.OFPFlowStatsRequest(dp, 0, 0xff, o.OFPP_ANY, o.OFPG_ANY, 1, 3, p.OFPMatch(in_port=1)))
out("aggregate", p.OFPAggregateStatsRequest(dp, 0, 0xff, o.OFPP_ANY, o.OFPG_ANY, 0, 0, p.OFPMatch()))
out("table_stats", p.OFPTableStatsRequest(dp, 0))
out("port_stats", p.OFPPortStatsRequest(dp, 0, o.OFPP_ANY))
out("queue_stats", p.OFPQueueStatsRequest(dp, 0, o.OFPP_ANY, o.OFPQ_ALL))
out("group_stats", p.OFPGroupStatsRequest(dp, 0, o.OFPG_ALL))
out("group_desc", p.OFPGroupDescStatsRequest(dp, 0))
out("group_features", p.OFPGroupFeaturesStatsRequest(dp, 0))
out("meter_stats", p.OFPMeterStatsRequest(dp, 0, o.OFPM_ALL))
out("meter_config", p.OFPMeterConfigStatsRequest(dp, 0, o.OFPM_ALL))
out("meter_features", p.OFPMeterFeaturesStatsRequest(dp, 0))
out("port_desc", p.OFPPortDescStatsRequest(dp, 0))
out("table_features_get", p.OFPTableFeaturesStatsRequest(dp, 0))
out("experimenter_stats", p.OFPExperimenterStatsRequest(dp, 0, 0xabcdef, 7, b"data1234"))
out("onf_flow_monitor", p.ONFFlowMonitorStatsRequest(dp, 0, [p.ONFFlowMonitorRequest(
    5, o.ONFFMF_INITIAL, p.OFPMatch(in_port=1, eth_type=0x800))]))
oxms = [p.OFPOxmId(type_=t, hasmask=m) for t, m in
        [("in_port", False), ("eth_dst", True), ("ipv6_flabel", False), ("tcp_flags", False), ("tunnel_id", True)]]
props = [
    p.OFPTableFeaturePropInstructions(o.OFPTFPT_INSTRUCTIONS, [p.OFPInstructionId(t, 4) for t in (1, 2, 3, 4, 5, 6)]),
    p.OFPTableFeaturePropNextTables(o.OFPTFPT_NEXT_TABLES, table_ids=[1, 2, 3, 4, 5]),
    p.OFPTableFeaturePropActions(o.OFPTFPT_WRITE_ACTIONS, [p.OFPActionId(t, 4) for t in (0, 11, 17)]),
    p.OFPTableFeaturePropActions(o.OFPTFPT_APPLY_ACTIONS, [p.OFPActionId(t, 4) for t in (0, 25)]),
    p.OFPTableFeaturePropOxm(o.OFPTFPT_MATCH, oxms),
    p.OFPTableFeaturePropOxm(o.OFPTFPT_WILDCARDS, oxms[:2]),
    p.OFPTableFeaturePropOxm(o.OFPTFPT_APPLY_SETFIELD, oxms[1:3]),
]
out("table_features_set", p.OFPTableFeaturesStatsRequest(dp, 0, [
    p.OFPTableFeaturesStats(table_id=n, name=b"table %d" % n, metadata_match=2**64 - 1, metadata_write=0, config=3,
                            max_entries=1000, properties=props) for n in range(2)]))
bucket = p.OFPBucket(weight=1, watch_port=2, watch_group=o.OFPG_ANY, actions=[p.OFPActionOutput(2)])
for kind in range(4):
    out(f"group_mod_{kind}", p.OFPGroupMod(dp, o.OFPGC_ADD, kind, 7, [bucket, bucket]))
out("group_mod_delete", p.OFPGroupMod(dp, o.OFPGC_DELETE, 0, o.OFPG_ALL))
out("meter_mod", p.OFPMeterMod(dp, o.OFPMC_ADD, o.OFPMF_KBPS | o.OFPMF_BURST, 3, [
    p.OFPMeterBandDrop(1000, 10), p.OFPMeterBandDscpRemark(500, 5, 1), p.OFPMeterBandExperimenter(1, 2, 0xabcdef)]))
out("bundle_open", p.ONFBundleCtrlMsg(dp, 4, o.ONF_BCT_OPEN_REQUEST, o.ONF_BF_ATOMIC, []))
inner = p.OFPFlowMod(dp, match=p.OFPMatch(in_port=1))
inner.set_xid(xid + 1)
out("bundle_add", p.ONFBundleAddMsg(dp, 4, o.ONF_BF_ATOMIC, inner, []))

flow("flow_mod_empty")
flow("flow_mod_all", p.OFPMatch(in_port=1), [p.OFPInstructionGotoTable(4)], cookie=1, cookie_mask=2, table_id=3,
     command=o.OFPFC_MODIFY_STRICT, idle_timeout=4, hard_timeout=5, priority=6, buffer_id=7, out_port=8, out_group=9,
     flags=o.OFPFF_SEND_FLOW_REM)
flow("inst_metadata", None, [p.OFPInstructionWriteMetadata(5, 0xff)])
flow("inst_clear", None, [p.OFPInstructionActions(o.OFPIT_CLEAR_ACTIONS, [])])
flow("inst_write", None, [p.OFPInstructionActions(o.OFPIT_WRITE_ACTIONS, [p.OFPActionGroup(3)])])
flow("inst_meter", None, [p.OFPInstructionMeter(3)])
values = {
    "in_port": 1, "in_phy_port": 2, "metadata": 3, "eth_dst": "02:00:00:00:00:01", "eth_src": "02:00:00:00:00:02",
    "eth_type": 0x800, "vlan_vid": 0x1005, "vlan_pcp": 3, "ip_dscp": 5, "ip_ecn": 1, "ip_proto": 6,
    "ipv4_src": "10.0.0.1", "ipv4_dst": "10.0.0.2", "tcp_src": 1, "tcp_dst": 2, "udp_src": 3, "udp_dst": 4,
    "sctp_src": 5, "sctp_dst": 6, "icmpv4_type": 7, "icmpv4_code": 8, "arp_op": 1, "arp_spa": "10.0.0.3",
    "arp_tpa": "10.0.0.4", "arp_sha": "02:00:00:00:00:03", "arp_tha": "02:00:00:00:00:04", "ipv6_src": "2001:db8::1",
    "ipv6_dst": "2001:db8::2", "ipv6_flabel": 9, "icmpv6_type": 135, "icmpv6_code": 0, "ipv6_nd_target": "2001:db8::3",
    "ipv6_nd_sll": "02:00:00:00:00:05", "ipv6_nd_tll": "02:00:00:00:00:06", "mpls_label": 10, "mpls_tc": 1,
    "mpls_bos": 1, "pbb_isid": 11, "tunnel_id": 12, "ipv6_exthdr": 13, "pbb_uca": 1, "tcp_flags": 2,
    "actset_output": 3, "reg0": 1, "reg15": 2, "xxreg0": 3, "xxreg3": 4, "tun_ipv4_src": "10.0.0.5",
    "tun_ipv4_dst": "10.0.0.6", "tun_ipv6_src": "2001:db8::4", "ct_state": 1, "ct_zone": 2, "ct_mark": 3,
    "ct_label": 4, "pkt_mark": 5, "conj_id": 6, "tun_flags": 0, "tcp_flags_nxm": 2,
    "eth_dst_nxm": "02:00:00:00:00:01", "_dp_hash": 5,
}
masks = {"eth": "ff:ff:ff:00:00:00", "arp_sha": "ff:ff:ff:00:00:00", "arp_tha": "ff:ff:ff:00:00:00",
         "ipv4": "255.0.0.0", "arp": "255.0.0.0", "tun_ipv4": "255.0.0.0", "ipv6_s": "ffff::", "ipv6_d": "ffff::",
         "tun_ipv6": "ffff::"}
for name, value in values.items():
    try:
        flow("match_" + name, p.OFPMatch(**{name: value}))
    except Exception as e:
        print(f"# {name}: {e}", file=sys.stderr)
    for prefix, mask in masks.items():
        if name.startswith(prefix) and not name.endswith(("type", "op", "nxm")):
            try:
                flow("match_masked_" + name, p.OFPMatch(**{name: (value, mask)}))
            except Exception as e:
                print(f"# masked {name}: {e}", file=sys.stderr)
            break
for name, action in {
    "output": p.OFPActionOutput(2), "controller": p.OFPActionOutput(o.OFPP_CONTROLLER, o.OFPCML_NO_BUFFER),
    "copy_ttl_in": p.OFPActionCopyTtlIn(), "copy_ttl_out": p.OFPActionCopyTtlOut(),
    "set_mpls_ttl": p.OFPActionSetMplsTtl(9), "dec_mpls_ttl": p.OFPActionDecMplsTtl(),
    "push_vlan": p.OFPActionPushVlan(0x8100), "pop_vlan": p.OFPActionPopVlan(), "push_mpls": p.OFPActionPushMpls(0x8847),
    "pop_mpls": p.OFPActionPopMpls(0x800), "set_queue": p.OFPActionSetQueue(3), "group": p.OFPActionGroup(4),
    "set_nw_ttl": p.OFPActionSetNwTtl(5), "dec_nw_ttl": p.OFPActionDecNwTtl(), "push_pbb": p.OFPActionPushPbb(0x88e7),
    "pop_pbb": p.OFPActionPopPbb(), "experimenter": p.OFPActionExperimenterUnknown(0xabcdef, b"12345678"),
}.items():
    apply("action_" + name, action)
for name, value in values.items():
    if name in ("in_phy_port", "ct_state", "conj_id", "_dp_hash") or name.endswith("nxm"):
        continue
    try:
        apply("set_field_" + name, p.OFPActionSetField(**{name: value}))
    except Exception as e:
        print(f"# set_field {name}: {e}", file=sys.stderr)


def nx(name, make):
    try:
        apply("nx_" + name, make())
    except Exception as e:
        print(f"# nx {name}: {type(e).__name__} {e}", file=sys.stderr)


nx("resubmit", lambda: p.NXActionResubmit(3))
nx("resubmit_table", lambda: p.NXActionResubmitTable(table_id=4))
nx("reg_move", lambda: p.NXActionRegMove("eth_src", "eth_dst", 48))
nx("reg_move_reg", lambda: p.NXActionRegMove("reg0", "reg1", 8, 4, 16))
nx("reg_load", lambda: p.NXActionRegLoad(4 << 6 | 27, "reg0", 0x33))
nx("reg_load2", lambda: p.NXActionRegLoad2("reg3", 0x11, 0xff))
nx("note", lambda: p.NXActionNote([1, 2, 3, 4, 5, 6]))
nx("set_tunnel", lambda: p.NXActionSetTunnel(7))
nx("set_tunnel64", lambda: p.NXActionSetTunnel64(7 << 40))
nx("pop_queue", lambda: p.NXActionPopQueue())
nx("multipath", lambda: p.NXActionMultipath(0, 50, 2, 3, 0, 4 << 6 | 15, "reg2"))
nx("bundle", lambda: p.NXActionBundle(0, 0, 60, 2, 2, 0, 0, [2, 3]))
nx("bundle_load", lambda: p.NXActionBundleLoad(1, 0, 60, 2, 2, 4 << 6 | 15, "reg0", [2, 3]))
nx("output_reg", lambda: p.NXActionOutputReg(15, "reg5", 1024))
nx("output_reg2", lambda: p.NXActionOutputReg2(15, "reg5", 1024))
nx("output_trunc", lambda: p.NXActionOutputTrunc(3, 100))
nx("learn", lambda: p.NXActionLearn(
    10, specs=[p.NXFlowSpecMatch(src=0x800, dst=("eth_type_nxm", 0), n_bits=16),
               p.NXFlowSpecMatch(src=("reg1", 1), dst=("reg2", 3), n_bits=5),
               p.NXFlowSpecLoad(src=0, dst=("reg4", 3), n_bits=5),
               p.NXFlowSpecOutput(src=("reg6", 0), dst="", n_bits=32)],
    idle_timeout=180, hard_timeout=300, priority=1, cookie=0x64, flags=3, fin_idle_timeout=180, fin_hard_timeout=300))
nx("exit", lambda: p.NXActionExit())
nx("fin_timeout", lambda: p.NXActionFinTimeout(30, 60))
nx("controller", lambda: p.NXActionController(1024, 1, o.OFPR_INVALID_TTL))
nx("controller2", lambda: p.NXActionController2(max_len=1024, controller_id=2, reason=1, userdata=b"\x01\x02\x03", pause=True))
nx("dec_ttl_cnt_ids", lambda: p.NXActionDecTtlCntIds([1, 2, 3]))
nx("stack_push", lambda: p.NXActionStackPush("reg2", 0, 5))
nx("stack_pop", lambda: p.NXActionStackPop("reg2", 0, 5))
nx("sample", lambda: p.NXActionSample(3, 1, 2, 3))
nx("sample2", lambda: p.NXActionSample2(3, 1, 2, 3, sampling_port=8080))
nx("conjunction", lambda: p.NXActionConjunction(0, 2, 1))
nx("ct", lambda: p.NXActionCT(1, "", 0, 255, 0, []))
nx("ct_reg", lambda: p.NXActionCT(1, "reg0", (0 << 6) | 15, 4, 0, [
    p.NXActionNAT(1, "10.1.12.0", "10.1.13.255", "", "", 1, 1023)]))
nx("nat_ipv6", lambda: p.NXActionCT(1, "", 0, 255, 0, [p.NXActionNAT(2, "", "", "2001:db8::1", "2001:db8::9")]))
nx("ct_clear", lambda: p.NXActionCTClear())
