#!/usr/bin/env python3
"""Messages as python-openflow (PyPI: python-openflow) encodes them, one `name hex` line each:
python make_python_openflow.py > python_openflow.hex"""
import sys

from pyof.foundation.basic_types import DPID, HWAddress
from pyof.v0x04.asynchronous import error_msg, flow_removed, packet_in, port_status
from pyof.v0x04.common import action as a
from pyof.v0x04.common.flow_instructions import InstructionApplyAction, InstructionGotoTable, InstructionMeter
from pyof.v0x04.common.flow_match import Match, MatchType, OxmClass, OxmOfbMatchField, OxmTLV
from pyof.v0x04.common.port import Port, PortConfig, PortNo
from pyof.v0x04.controller2switch import (barrier_reply, barrier_request, features_reply, features_request, flow_mod,
                                          get_async_request, get_config_reply, get_config_request, group_mod,
                                          meter_mod, multipart_reply, multipart_request, packet_out, port_mod,
                                          role_reply, role_request, set_config, table_mod)
from pyof.v0x04.controller2switch.common import Bucket, MultipartType
from pyof.v0x04.symmetric import echo_reply, echo_request, experimenter, hello

xid = 0


def out(name, make):
    global xid
    xid += 1
    try:
        m = make()
        m.header.xid = xid
        print(name, m.pack().hex())
    except Exception as e:
        print(f"# {name}: {type(e).__name__} {e}", file=sys.stderr)


def tlv(field, value, mask=False, cls=OxmClass.OFPXMC_OPENFLOW_BASIC):
    return OxmTLV(oxm_class=cls, oxm_field=field, oxm_hasmask=mask, oxm_value=value)


F = OxmOfbMatchField
match = lambda *t: Match(match_type=MatchType.OFPMT_OXM, oxm_match_fields=list(t))
in_port = tlv(F.OFPXMT_OFB_IN_PORT, b"\0\0\0\1")
apply = lambda *acts: [InstructionApplyAction(actions=list(acts))]
flow = lambda **kw: flow_mod.FlowMod(**{**dict(
    cookie=1, cookie_mask=0, table_id=2, command=flow_mod.FlowModCommand.OFPFC_ADD, idle_timeout=3, hard_timeout=4,
    priority=5, buffer_id=0xffffffff, out_port=0xffffffff, out_group=0xffffffff, flags=1), **kw})

out("hello", lambda: hello.Hello(elements=[]))
out("hello_bitmap", lambda: hello.Hello(elements=[hello.HelloElemHeader(hello.HelloElemType.OFPHET_VERSIONBITMAP, 8, b"\0\0\0\x12")]))
out("echo_request", lambda: echo_request.EchoRequest(data=b"abc"))
out("echo_reply", lambda: echo_reply.EchoReply(data=b"abc"))
out("experimenter", lambda: experimenter.ExperimenterHeader(experimenter=0xabcdef, exp_type=3))
out("features_request", features_request.FeaturesRequest)
out("features_reply", lambda: features_reply.FeaturesReply(datapath_id=DPID("00:00:00:00:00:00:00:01"), n_buffers=256, n_tables=254, auxiliary_id=0, capabilities=0x4f, reserved=0))
out("get_config_request", get_config_request.GetConfigRequest)
out("get_config_reply", lambda: get_config_reply.GetConfigReply(flags=0, miss_send_len=128))
out("set_config", lambda: set_config.SetConfig(flags=0, miss_send_len=0xffff))
out("packet_in", lambda: packet_in.PacketIn(buffer_id=0xffffffff, total_len=60, reason=packet_in.PacketInReason.OFPR_ACTION, table_id=1, cookie=2, match=match(in_port), data=b"x" * 60))
out("packet_out", lambda: packet_out.PacketOut(buffer_id=0xffffffff, in_port=PortNo.OFPP_CONTROLLER, actions=[a.ActionOutput(port=2)], data=b"x" * 60))
out("flow_removed", lambda: flow_removed.FlowRemoved(cookie=1, priority=2, reason=flow_removed.FlowRemovedReason.OFPRR_DELETE, table_id=3, duration_sec=4, duration_nsec=5, idle_timeout=6, hard_timeout=7, packet_count=8, byte_count=9, match=match(in_port)))
port = lambda: Port(port_no=1, hw_addr=HWAddress("02:00:00:00:00:01"), name="eth1", config=0, state=4, curr=0x840, advertised=0, supported=0, peer=0, curr_speed=10000000, max_speed=10000000)
out("port_status", lambda: port_status.PortStatus(reason=port_status.PortReason.OFPPR_ADD, desc=port()))
out("flow_mod", lambda: flow(match=match(in_port), instructions=apply(a.ActionOutput(port=2))))
out("flow_mod_fields", lambda: flow(match=match(
    in_port, tlv(F.OFPXMT_OFB_ETH_TYPE, b"\x08\0"), tlv(F.OFPXMT_OFB_IPV4_DST, b"\x0a\0\0\0\xff\0\0\0", True),
    tlv(F.OFPXMT_OFB_IP_PROTO, b"\x06"), tlv(F.OFPXMT_OFB_TCP_DST, b"\0\x50"))))
out("flow_mod_goto", lambda: flow(match=match(), instructions=[InstructionGotoTable(7)]))
out("flow_mod_meter", lambda: flow(match=match(), instructions=[InstructionMeter(7)]))
for name, act in {
    "output": lambda: a.ActionOutput(port=2), "controller": lambda: a.ActionOutput(port=PortNo.OFPP_CONTROLLER),
    "pop_vlan": a.ActionPopVLAN, "push_vlan": lambda: a.ActionPush(action_type=a.ActionType.OFPAT_PUSH_VLAN, ethertype=0x8100),
    "push_mpls": lambda: a.ActionPush(action_type=a.ActionType.OFPAT_PUSH_MPLS, ethertype=0x8847),
    "group": lambda: a.ActionGroup(3),
    "set_queue": lambda: a.ActionSetQueue(3), "set_nw_ttl": lambda: a.ActionSetNWTTL(3), "dec_nw_ttl": a.ActionDecNWTTL,
    "set_mpls_ttl": lambda: a.ActionSetMPLSTTL(3), "dec_mpls_ttl": a.ActionDecMPLSTTL, "copy_ttl_in": a.ActionCopyTTLIn,
    "copy_ttl_out": a.ActionCopyTTLOut, "pop_pbb": a.ActionPopPBB,
    "set_field": lambda: a.ActionSetField(field=tlv(F.OFPXMT_OFB_VLAN_VID, b"\x10\x05")),
}.items():
    out("action_" + name, lambda: flow(match=match(), instructions=apply(act())))
out("port_mod", lambda: port_mod.PortMod(port_no=1, hw_addr=HWAddress("02:00:00:00:00:01"), config=PortConfig.OFPPC_PORT_DOWN, mask=PortConfig.OFPPC_PORT_DOWN, advertise=0))
out("table_mod", lambda: table_mod.TableMod(table_id=1, config=0))
out("barrier_request", barrier_request.BarrierRequest)
out("barrier_reply", barrier_reply.BarrierReply)
out("role_request", lambda: role_request.RoleRequest(role=2, generation_id=5))
out("role_reply", lambda: role_reply.RoleReply(role=2, generation_id=5))
out("get_async_request", get_async_request.GetAsyncRequest)
for name, kind, body in [
    ("desc", MultipartType.OFPMP_DESC, b""),
    ("flow", MultipartType.OFPMP_FLOW, multipart_request.FlowStatsRequest(match=match(in_port))),
    ("aggregate", MultipartType.OFPMP_AGGREGATE, multipart_request.AggregateStatsRequest(match=match())),
    ("table", MultipartType.OFPMP_TABLE, b""),
    ("port_stats", MultipartType.OFPMP_PORT_STATS, multipart_request.PortStatsRequest(0xffffffff)),
    ("queue", MultipartType.OFPMP_QUEUE, multipart_request.QueueStatsRequest(0xffffffff, 0xffffffff)),
    ("group", MultipartType.OFPMP_GROUP, multipart_request.GroupStatsRequest(3)),
    ("group_desc", MultipartType.OFPMP_GROUP_DESC, b""),
    ("meter", MultipartType.OFPMP_METER, multipart_request.MeterMultipartRequest(3)),
    ("meter_config", MultipartType.OFPMP_METER_CONFIG, multipart_request.MeterMultipartRequest(3)),
    ("port_desc", MultipartType.OFPMP_PORT_DESC, b""),
]:
    out("multipart_" + name, lambda: multipart_request.MultipartRequest(multipart_type=kind, flags=0, body=body))
out("reply_port_desc", lambda: multipart_reply.MultipartReply(multipart_type=MultipartType.OFPMP_PORT_DESC, flags=0, body=[port(), port()]))
out("error", lambda: error_msg.ErrorMsg(error_type=1, code=6, data=b"0123456789"))
