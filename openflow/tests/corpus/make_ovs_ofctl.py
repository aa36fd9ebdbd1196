#!/usr/bin/env python3
"""Messages as ovs-ofctl (Debian: openvswitch-common) sends them, one `name hex` line each: this script is the switch it talks to.
python make_ovs_ofctl.py > ovs_ofctl.hex"""
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading

path = os.path.join(tempfile.mkdtemp(), "switch.mgmt")
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(5)
got = []


def answer(t, xid, body):
    if t == 0:
        return None
    if t == 2:
        return 3, body
    if t == 5:
        return 6, struct.pack("!QIBBHII", 1, 0, 254, 0, 0, 0x4f, 0)
    if t == 7:
        return 8, struct.pack("!HH", 0, 128)
    if t == 18:
        table = struct.pack("!HB5x32sQQII", 128, 0, b"first", 0, 0, 0, 1000) + b"".join(
            struct.pack("!HH4x", kind, 4) for kind in range(0, 16, 2)) if body[:2] == b"\0\x0c" else b""
        exact = {2: 24, 0: 1056, 8: 40, 11: 16}.get(struct.unpack("!H", body[:2])[0], 0)
        return 19, body[:2] + bytes(6) + table + bytes(exact)
    if t == 20:
        return 21, b""
    if t == 24:
        return 25, body
    if t == 4 and body[:8] == bytes.fromhex("4f4e4600000008fc"):  # bundle control: the reply is one more than the request
        return 4, body[:12] + struct.pack("!H", struct.unpack("!H", body[12:14])[0] + 1) + body[14:]
    return None


def talk(c):
    buf = b""
    try:
        c.sendall(struct.pack("!BBHIHHI", 4, 0, 16, 1, 1, 8, 0x10))
        while data := c.recv(65536):
            buf += data
            while len(buf) >= 8 and len(buf) >= struct.unpack("!H", buf[2:4])[0]:
                v, t, n, xid = struct.unpack("!BBHI", buf[:8])
                m, buf = buf[:n], buf[n:]
                got.append(m)
                if a := answer(t, xid, m[8:]):
                    c.sendall(struct.pack("!BBHI", v, a[0], 8 + len(a[1]), xid) + a[1])
    except OSError:
        pass  # it has heard enough


def serve():
    while True:
        c, _ = listener.accept()
        threading.Thread(target=talk, args=(c,), daemon=True).start()


threading.Thread(target=serve, daemon=True).start()
seen = set()


def run(name, *args):
    got.clear()
    try:
        subprocess.run(["ovs-ofctl", "-OOpenFlow13", "--timeout=3", args[0], "unix:" + path, *args[1:]],
                       stdout=subprocess.DEVNULL, stderr=sys.stderr, timeout=10)
    except subprocess.TimeoutExpired:
        print("# timeout", name, file=sys.stderr)
    for m in got:
        plain = m[:4] + bytes(4) + m[8:]
        if plain not in seen:
            seen.add(plain)
            print(name, plain.hex())


for i, f in enumerate("""
in_port=1,dl_src=02:00:00:00:00:01/ff:ff:ff:00:00:00,actions=output:2
priority=7,cookie=0x12,idle_timeout=5,hard_timeout=6,send_flow_rem,check_overlap,table=3,tcp,nw_src=10.0.0.0/8,tp_dst=80,actions=NORMAL
tcp6,ipv6_src=2001:db8::/32,tcp_flags=+syn-ack,actions=CONTROLLER:128
udp,tp_src=0x50/0xfff0,actions=dec_ttl,output:1
sctp,actions=mod_nw_tos:32,mod_nw_ecn:1,output:1
icmp,icmp_type=8,actions=drop
icmp6,icmp_type=135,nd_target=2001:db8::1,actions=FLOOD
arp,arp_op=1,arp_spa=10.0.0.1,actions=move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],load:0x2->NXM_OF_ARP_OP[],IN_PORT
dl_vlan=5,dl_vlan_pcp=3,actions=strip_vlan,output:1
vlan_tci=0x1000/0x1000,actions=mod_vlan_vid:7,output:1
actions=push_vlan:0x8100,set_field:0x1005->vlan_vid,output:1
mpls,mpls_label=3,actions=set_field:4->mpls_label,pop_mpls:0x0800,output:1
actions=push_mpls:0x8847,output:1
metadata=0x1/0xff,tun_id=5,reg0=1,xreg1=2,xxreg1=3,actions=write_metadata:0x5/0xff,goto_table:9
tun_src=10.0.0.1,tun_dst=10.0.0.2,actions=set_tunnel:7,output:1
actions=resubmit(3),resubmit(,4),resubmit(5,6)
actions=load:0x5->NXM_NX_REG0[4..8],move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],push:NXM_NX_REG1[],pop:NXM_NX_REG2[0..15]
actions=set_field:00:00:00:00:00:01/00:00:00:00:00:ff->eth_src
actions=learn(table=1,idle_timeout=10,NXM_OF_VLAN_TCI[0..11],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:0x5->NXM_NX_REG0[],output:NXM_OF_IN_PORT[])
ip,actions=learn(table=1,limit=5,result_dst=reg0[0],eth_type=0x800,nw_src=nw_dst,fin_idle_timeout=3)
actions=multipath(symmetric_l4,1024,modulo_n,16,0,NXM_NX_REG0[0..15])
actions=bundle(nw_src,0,hrw,ofport,slaves:4,8)
actions=bundle_load(eth_src,0,active_backup,ofport,NXM_NX_REG0[],slaves:4,8)
actions=output:NXM_NX_REG0[0..15],output(port=3,max_len=100)
actions=controller(reason=no_match,max_len=123,id=456),controller(userdata=01.02.03,pause)
actions=note:01.02.03.04.05.06,exit
tcp,actions=fin_timeout(idle_timeout=5),output:1
conj_id=7,ip,actions=ct_clear,output:1
ip,actions=conjunction(7,1/2)
ip,ct_state=+trk+new,ct_zone=5,ct_mark=1,ct_label=2,actions=ct(commit,zone=5,exec(load:1->NXM_NX_CT_MARK[]),nat(src=10.0.0.1-10.0.0.9:80-90,random))
tcp,actions=ct(table=2,zone=NXM_NX_REG0[0..15],alg=ftp,force,commit)
actions=clone(set_field:1->reg0,output:2),output:3
actions=check_pkt_larger(1500)->reg0[0]
actions=sample(probability=3,collector_set_id=1,obs_domain_id=2,obs_point_id=3),sample(probability=3,sampling_port=2,ingress)
actions=group:3,set_queue:4,output:1,pop_queue
actions=meter:5,clear_actions,write_actions(group:3,output:1)
actions=encap(nsh(md_type=1)),set_field:0x1234->nsh_spi,output:1
dl_type=0x894f,actions=dec_nsh_ttl,decap
pkt_mark=3,ip_frag=later,ip,actions=set_field:4->pkt_mark,output:1
actions=delete_field:tun_id
""".strip().splitlines()):
    run(f"flow_{i}", "add-flow", f)
run("mod_flows", "mod-flows", "ip,actions=output:1")
run("del_flows", "del-flows", "cookie=1/-1,table=3,out_port=5,out_group=6")
run("dump_flows", "dump-flows", "table=3,ip")
run("dump_aggregate", "dump-aggregate")
for c in ("show", "dump-desc", "dump-tables", "dump-table-features", "dump-ports", "dump-ports-desc", "queue-stats",
          "dump-groups", "dump-group-stats", "dump-group-features", "dump-meters", "meter-stats", "meter-features",
          "get-frags", "probe", "dump-tlv-map"):
    run(c, c)
run("set_frags", "set-frags", "drop")
for i, g in enumerate(("group_id=1,type=all,bucket=output:1,bucket=output:2", "group_id=2,type=select,bucket=weight:5,output:1",
                       "group_id=3,type=ff,bucket=watch_port:1,output:1", "group_id=4,type=indirect,bucket=output:1")):
    run(f"group_{i}", "add-group", g)
run("del_groups", "del-groups")
run("meter", "add-meter", "meter=1,kbps,burst,stats,bands=type=drop,rate=100,burst_size=5,type=dscp_remark,rate=200,burst_size=6,prec_level=1")
run("del_meter", "del-meter", "meter=1")
run("packet_out", "packet-out", "in_port=1,packet=0123456789ab0123456789cd0800,actions=output:2")
run("tlv", "add-tlv-map", "{class=0xffff,type=0,len=4}->tun_metadata0")
run("ct_flush", "ct-flush-zone", "5")
with tempfile.NamedTemporaryFile("w", suffix=".flows") as f:
    f.write("add in_port=1,actions=output:2\ndelete in_port=3\n")
    f.flush()
    subprocess_args = ["ovs-ofctl", "-OOpenFlow13", "--timeout=3", "--bundle", "add-flows", "unix:" + path, f.name]
    got.clear()
    subprocess.run(subprocess_args, stdout=subprocess.DEVNULL, timeout=10)
    for m in got:
        plain = m[:4] + bytes(4) + m[8:]
        if plain not in seen:
            seen.add(plain)
            print("bundle", plain.hex())
