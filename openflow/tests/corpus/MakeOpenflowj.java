// A controller by OpenFlowJ (Maven Central: org.projectfloodlight:openflowj:3.6.605): says what ONOS says when a switch connects, then programs and
// asks what there is a builder for. One `openflowj/SIDE-N hex` line for each message; faults, and exit status 1, if a reply is not read, is said again
// in other bytes, or is not what was asked for. With its jars in lib/ (mvn dependency:copy-dependencies), and a switch of ports 1 and 2 that connects:
//   javac -cp "lib/*" -d out MakeOpenflowj.java && java -cp "out:lib/*" MakeOpenflowj 6653 | awk 'length < 60000' > openflowj.hex
import io.netty.buffer.*;
import java.io.*;
import java.net.*;
import java.util.*;
import org.projectfloodlight.openflow.protocol.*;
import org.projectfloodlight.openflow.protocol.action.*;
import org.projectfloodlight.openflow.protocol.instruction.*;
import org.projectfloodlight.openflow.protocol.match.*;
import org.projectfloodlight.openflow.protocol.meterband.*;
import org.projectfloodlight.openflow.protocol.oxm.*;
import org.projectfloodlight.openflow.types.*;

public class MakeOpenflowj {
    static final OFFactory f = OFFactories.getFactory(OFVersion.OF_13);
    static InputStream in;
    static OutputStream out;
    static int said, heard, faults;

    static String hex(byte[] b) {
        StringBuilder s = new StringBuilder();
        for (byte x : b) s.append(String.format("%02x", x));
        return s.toString();
    }
    static void fault(String what) {
        faults++;
        System.err.println("FAULT " + what);
    }
    static byte[] bytes(OFMessage m) {
        ByteBuf b = Unpooled.buffer();
        m.writeTo(b);
        byte[] r = new byte[b.readableBytes()];
        b.readBytes(r);
        return r;
    }
    static void say(OFMessage m) throws IOException {
        byte[] b = bytes(m);
        System.out.println("openflowj/c-" + (++said) + " " + hex(b));
        out.write(b);
        out.flush();
    }
    static OFMessage hear() throws IOException {
        byte[] head = in.readNBytes(8);
        if (head.length < 8) throw new EOFException("the switch hung up");
        int n = (head[2] & 255) << 8 | head[3] & 255;
        byte[] all = Arrays.copyOf(head, n);
        System.arraycopy(in.readNBytes(n - 8), 0, all, 8, n - 8);
        System.out.println("openflowj/s-" + (++heard) + " " + hex(all));
        try {
            OFMessage m = OFFactories.getGenericReader().readFrom(Unpooled.wrappedBuffer(all));
            String again = hex(bytes(m));
            if (!again.equals(hex(all))) fault(m.getType() + " is said again as\n " + again + "\n for\n " + hex(all));
            return m;
        } catch (Exception e) {
            fault("not read: " + e + "\n " + hex(all));
            return null;
        }
    }
    /** Asks, and hears all parts of the answer. */
    static List<OFMessage> ask(OFMessage q) throws IOException {
        say(q);
        List<OFMessage> got = new ArrayList<>();
        while (true) {
            OFMessage m = hear();
            if (m == null) return got;
            if (m.getType() == OFType.ECHO_REQUEST) {
                say(f.buildEchoReply().setXid(m.getXid()).setData(((OFEchoRequest) m).getData()).build());
                continue;
            }
            if (m.getXid() != q.getXid()) {
                System.err.println("  beside it: " + m.getType());
                continue;
            }
            got.add(m);
            if (!(m instanceof OFStatsReply) || !((OFStatsReply) m).getFlags().contains(OFStatsReplyFlags.REPLY_MORE)) break;
        }
        OFMessage first = got.get(0);
        System.err.println(q.getType() + (q instanceof OFStatsRequest ? " " + ((OFStatsRequest<?>) q).getStatsType() : "") + " -> " + first.getType()
            + (got.size() > 1 ? " in " + got.size() + " parts" : ""));
        return got;
    }
    static OFMessage one(OFMessage q) throws IOException { return ask(q).get(0); }
    static void barrier() throws IOException {
        OFMessage m = one(f.barrierRequest());
        if (m.getType() != OFType.BARRIER_REPLY) fault("barrier: " + m);
    }
    static OFAction output(int port) { return f.actions().buildOutput().setPort(OFPort.of(port)).setMaxLen(0xffff).build(); }
    static OFFlowAdd.Builder add(long cookie, int table, int priority, Match m, OFInstruction... i) {
        return f.buildFlowAdd().setCookie(U64.of(cookie)).setTableId(TableId.of(table)).setPriority(priority).setMatch(m)
            .setInstructions(Arrays.asList(i)).setBufferId(OFBufferId.NO_BUFFER).setFlags(EnumSet.of(OFFlowModFlags.SEND_FLOW_REM));
    }
    static OFBucket bucket(int weight, OFPort watch, OFAction... a) {
        return f.buildBucket().setWeight(weight).setWatchPort(watch).setWatchGroup(OFGroup.ANY).setActions(Arrays.asList(a)).build();
    }

    public static void main(String[] args) throws Exception {
        ServerSocket server = new ServerSocket(Integer.parseInt(args[0]), 5, InetAddress.getByName("127.0.0.1"));
        Socket s = server.accept();
        s.setSoTimeout(10000);
        in = s.getInputStream();
        out = s.getOutputStream();
        // The handshake, in ONOS's order.
        OFMessage hello = hear();
        if (hello.getType() != OFType.HELLO) fault("no HELLO first: " + hello);
        say(f.buildHello().setElements(List.of(f.buildHelloElemVersionbitmap().setBitmaps(List.of(U32.of(1 << 4 | 1 << 1))).build())).build());
        OFFeaturesReply features = (OFFeaturesReply) one(f.featuresRequest());
        System.err.println("dpid " + features.getDatapathId() + ", " + features.getNTables() + " tables");
        OFPortDescStatsReply ports = (OFPortDescStatsReply) one(f.buildPortDescStatsRequest().build());
        say(f.buildSetConfig().setFlags(EnumSet.of(OFConfigFlags.FRAG_NORMAL)).setMissSendLen(0xffff).build());
        barrier();
        one(f.getConfigRequest());
        one(f.buildMeterFeaturesStatsRequest().build());
        OFDescStatsReply desc = (OFDescStatsReply) one(f.buildDescStatsRequest().build());
        System.err.println("  " + desc.getMfrDesc() + " / " + desc.getHwDesc() + " / " + desc.getSwDesc());
        one(f.buildRoleRequest().setRole(OFControllerRole.ROLE_MASTER).setGenerationId(U64.of(1)).build());

        // Groups and meters.
        say(f.buildGroupAdd().setGroup(OFGroup.of(1)).setGroupType(OFGroupType.ALL)
            .setBuckets(List.of(bucket(0, OFPort.ANY, output(1)), bucket(0, OFPort.ANY, f.actions().pushVlan(EthType.of(0x8100)),
                f.actions().setField(f.oxms().vlanVid(OFVlanVidMatch.ofVlan(7))), output(2)))).build());
        say(f.buildGroupAdd().setGroup(OFGroup.of(2)).setGroupType(OFGroupType.SELECT)
            .setBuckets(List.of(bucket(1, OFPort.ANY, output(1)), bucket(3, OFPort.ANY, output(2)))).build());
        say(f.buildGroupAdd().setGroup(OFGroup.of(3)).setGroupType(OFGroupType.INDIRECT).setBuckets(List.of(bucket(0, OFPort.ANY, f.actions().group(OFGroup.of(1))))).build());
        say(f.buildGroupAdd().setGroup(OFGroup.of(4)).setGroupType(OFGroupType.FF)
            .setBuckets(List.of(bucket(0, OFPort.of(1), output(1)), bucket(0, OFPort.of(2), output(2)))).build());
        say(f.buildGroupModify().setGroup(OFGroup.of(2)).setGroupType(OFGroupType.SELECT).setBuckets(List.of(bucket(1, OFPort.ANY, output(2)))).build());
        say(f.buildMeterMod().setCommand(OFMeterModCommand.ADD).setMeterId(1).setFlags(EnumSet.of(OFMeterFlags.KBPS, OFMeterFlags.BURST, OFMeterFlags.STATS))
            .setMeters(List.of(f.meterBands().buildDrop().setRate(1000).setBurstSize(100).build(),
                f.meterBands().buildDscpRemark().setRate(500).setBurstSize(50).setPrecLevel((short) 1).build())).build());
        barrier();

        // Flow entries with many fields, and all instructions.
        List<OFFlowMod> batch = new ArrayList<>();
        batch.add(add(1, 0, 0, f.matchWildcardAll(), f.instructions().applyActions(List.of(f.actions().buildOutput().setPort(OFPort.CONTROLLER).setMaxLen(0xffff).build()))).build());
        batch.add(add(2, 0, 100, f.buildMatch().setExact(MatchField.ETH_TYPE, EthType.LLDP).build(), f.instructions().clearActions(),
            f.instructions().applyActions(List.of(f.actions().buildOutput().setPort(OFPort.CONTROLLER).setMaxLen(0xffff).build()))).build());
        batch.add(add(3, 0, 200, f.buildMatch().setExact(MatchField.IN_PORT, OFPort.of(1)).setExact(MatchField.ETH_TYPE, EthType.IPv4)
            .setMasked(MatchField.IPV4_DST, IPv4AddressWithMask.of("10.1.0.0/16")).setExact(MatchField.IP_PROTO, IpProtocol.TCP)
            .setExact(MatchField.TCP_DST, TransportPort.of(80)).build(),
            f.instructions().buildMeter().setMeterId(1).build(),
            f.instructions().applyActions(List.of(f.actions().decNwTtl(), f.actions().setField(f.oxms().ethDst(MacAddress.of("02:00:00:00:00:02"))))),
            f.instructions().writeActions(List.of(output(2))), f.instructions().writeMetadata(U64.of(5), U64.of(0xff)), f.instructions().gotoTable(TableId.of(1))).build());
        batch.add(add(4, 1, 10, f.buildMatch().setMasked(MatchField.METADATA, OFMetadata.of(U64.of(5)), OFMetadata.of(U64.of(0xf))).build(),
            f.instructions().applyActions(List.of(f.actions().group(OFGroup.of(3))))).build());
        batch.add(add(5, 0, 300, f.buildMatch().setExact(MatchField.ETH_TYPE, EthType.IPv6).setMasked(MatchField.IPV6_DST, IPv6AddressWithMask.of("2001:db8::/32"))
            .setExact(MatchField.IP_PROTO, IpProtocol.IPv6_ICMP).setExact(MatchField.ICMPV6_TYPE, U8.of((short) 135))
            .setExact(MatchField.IPV6_ND_TARGET, IPv6Address.of("fe80::1")).build(), f.instructions().applyActions(List.of(output(2)))).build());
        batch.add(add(6, 0, 400, f.buildMatch().setExact(MatchField.ETH_TYPE, EthType.MPLS_UNICAST).setExact(MatchField.MPLS_LABEL, U32.of(1000)).build(),
            f.instructions().applyActions(List.of(f.actions().copyTtlIn(), f.actions().popMpls(EthType.IPv4), output(1)))).build());
        batch.add(add(7, 0, 401, f.buildMatch().setExact(MatchField.VLAN_VID, OFVlanVidMatch.ofVlan(9)).setExact(MatchField.VLAN_PCP, VlanPcp.of((byte) 3)).build(),
            f.instructions().applyActions(List.of(f.actions().popVlan(), f.actions().setQueue(1), output(1)))).setIdleTimeout(60).setHardTimeout(600).build());
        batch.add(add(8, 0, 402, f.buildMatch().setExact(MatchField.ETH_TYPE, EthType.ARP).setExact(MatchField.ARP_OP, ArpOpcode.REQUEST)
            .setExact(MatchField.ARP_TPA, IPv4Address.of("10.0.0.9")).build(), f.instructions().applyActions(List.of(f.actions().buildOutput().setPort(OFPort.FLOOD).build()))).build());
        // As ONOS: all of a batch, and its barrier, under one xid; the fourth is refused, and the error comes before the barrier's reply.
        batch.add(3, add(99, 3, 5, f.matchWildcardAll(), f.instructions().gotoTable(TableId.of(1))).build());
        long xid = 0x4242;
        for (OFFlowMod m : batch) say(m.createBuilder().setXid(xid).build());
        OFMessage e = one(f.buildBarrierRequest().setXid(xid).build());
        if (!(e instanceof OFErrorMsg)) fault("no error before the barrier's reply: " + e);
        else {
            com.google.common.base.Optional<OFMessage> failed = ((OFErrorMsg) e).getData().getParsedMessage();
            if (!failed.isPresent() || !((OFFlowMod) failed.get()).getCookie().equals(U64.of(99))) fault("the error does not name the flow-mod: " + e);
        }
        OFMessage b = hear();
        if (b.getType() != OFType.BARRIER_REPLY || b.getXid() != xid) fault("after the error: " + b);

        // Flow entries are seen back as they were sent.
        Map<U64, OFFlowMod> sent = new HashMap<>();
        for (OFFlowMod m : batch) if (m.getCookie().getValue() != 99) sent.put(m.getCookie(), m);
        for (OFMessage m : ask(f.buildFlowStatsRequest().setTableId(TableId.ALL).setOutPort(OFPort.ANY).setOutGroup(OFGroup.ANY).setMatch(f.matchWildcardAll()).build())) {
            for (OFFlowStatsEntry x : ((OFFlowStatsReply) m).getEntries()) {
                OFFlowMod w = sent.remove(x.getCookie());
                if (w == null || !w.getMatch().equals(x.getMatch()) || !new HashSet<>(w.getInstructions()).equals(new HashSet<>(x.getInstructions())) || w.getPriority() != x.getPriority()
                    || w.getIdleTimeout() != x.getIdleTimeout() || !w.getFlags().equals(x.getFlags())) fault("seen back: " + x + "\n sent: " + w);
            }
        }
        if (!sent.isEmpty()) fault("not seen back: " + sent.values());
        // Everything that can be asked.
        one(f.buildAggregateStatsRequest().setTableId(TableId.ALL).setOutPort(OFPort.ANY).setOutGroup(OFGroup.ANY).setMatch(f.matchWildcardAll()).build());
        ask(f.buildTableStatsRequest().build());
        ask(f.buildPortStatsRequest().setPortNo(OFPort.ANY).build());
        ask(f.buildQueueStatsRequest().setPortNo(OFPort.ANY).setQueueId(0xffffffffL).build());
        ask(f.buildGroupStatsRequest().setGroup(OFGroup.ALL).build());
        ask(f.buildGroupDescStatsRequest().build());
        ask(f.buildGroupFeaturesStatsRequest().build());
        ask(f.buildMeterStatsRequest().setMeterId(0xffffffffL).build());
        ask(f.buildMeterConfigStatsRequest().setMeterId(0xffffffffL).build());
        int tables = 0;
        for (OFMessage m : ask(f.buildTableFeaturesStatsRequest().build())) if (m != null) tables += ((OFTableFeaturesStatsReply) m).getEntries().size();
        System.err.println("  " + tables + " tables told");
        one(f.buildAsyncGetRequest().build());
        one(f.buildQueueGetConfigRequest().setPort(OFPort.of(1)).build());
        one(f.buildRoleRequest().setRole(OFControllerRole.ROLE_NOCHANGE).setGenerationId(U64.ZERO).build());
        one(f.buildEchoRequest().setData(new byte[] {1, 2, 3}).build());
        // A packet out, through the tables and back in.
        byte[] lldp = new byte[60];
        lldp[12] = (byte) 0x88;
        lldp[13] = (byte) 0xcc;
        say(f.buildPacketOut().setBufferId(OFBufferId.NO_BUFFER).setInPort(OFPort.of(1)).setActions(List.of(f.actions().buildOutput().setPort(OFPort.TABLE).build())).setData(lldp).build());
        OFMessage pin = hear();
        if (!(pin instanceof OFPacketIn) || !((OFPacketIn) pin).getCookie().equals(U64.of(2)) || ((OFPacketIn) pin).getReason() != OFPacketInReason.ACTION) fault("packet-in: " + pin);
        // A port goes down and up.
        OFPortDesc p1 = ports.getEntries().stream().filter(p -> p.getPortNo().equals(OFPort.of(1))).findFirst().get();
        for (boolean down : new boolean[] {true, false}) {
            say(f.buildPortMod().setPortNo(p1.getPortNo()).setHwAddr(p1.getHwAddr()).setConfig(down ? EnumSet.of(OFPortConfig.PORT_DOWN) : EnumSet.noneOf(OFPortConfig.class))
                .setMask(EnumSet.of(OFPortConfig.PORT_DOWN)).build());
            barrier();
        }
        // Modify, delete: flow-removed.
        say(f.buildFlowModifyStrict().setTableId(TableId.of(0)).setPriority(100).setMatch(batch.get(1).getMatch()).setBufferId(OFBufferId.NO_BUFFER)
            .setInstructions(List.of(f.instructions().applyActions(List.of(output(2))))).build());
        say(f.buildFlowDeleteStrict().setTableId(TableId.of(0)).setPriority(402).setMatch(batch.get(8).getMatch()).setOutPort(OFPort.ANY).setOutGroup(OFGroup.ANY).build());
        barrier();
        say(f.buildGroupDelete().setGroup(OFGroup.ALL).setGroupType(OFGroupType.ALL).build());
        say(f.buildMeterMod().setCommand(OFMeterModCommand.DELETE).setMeterId(0xffffffffL).setFlags(EnumSet.noneOf(OFMeterFlags.class)).setMeters(List.of()).build());
        say(f.buildFlowDelete().setTableId(TableId.ALL).setOutPort(OFPort.ANY).setOutGroup(OFGroup.ANY).setMatch(f.matchWildcardAll()).build());
        barrier();
        s.setSoTimeout(300);
        try {
            while (true) System.err.println("  then " + hear().getType());
        } catch (SocketTimeoutException done) {
        }
        System.err.println(said + " said, " + heard + " heard, " + faults + " faults");
        System.exit(faults == 0 ? 0 : 1);
    }
}
