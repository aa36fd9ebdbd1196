//! The table of flows in `cases/flows.txt`: what people write, and the one way it is printed.

use openflow::msg::FlowModCommand;
use openflow::text::{self, NoNames};

struct Case<'a> {
    line: usize,
    input: &'a str,
    output: &'a str,
}

fn cases(text: &str) -> Vec<Case<'_>> {
    let mut out = Vec::new();
    let mut lines =
        text.lines().enumerate().filter(|(_, l)| !l.starts_with('#') && !l.trim_start().starts_with("ovs:"));
    while let Some((i, input)) = lines.next() {
        let (_, output) = lines.next().expect("every input has an output");
        out.push(Case { line: i + 1, input, output: output.trim() });
    }
    out
}

#[test]
fn flows_are_printed_in_one_way_and_read_back_the_same() {
    let table = include_str!("cases/flows.txt");
    let mut wrong = Vec::new();
    let all = cases(table);
    assert!(all.len() > 200);
    for c in all {
        let flow = match text::parse_flow(c.input, FlowModCommand::ADD, &NoNames) {
            Ok(f) => f,
            Err(e) => {
                wrong.push(format!("flows.txt:{}: {}\n   refused: {e}", c.line, c.input));
                continue;
            }
        };
        let mut got = String::new();
        text::print::flow_mod(&mut got, &flow, &NoNames);
        if got != c.output {
            wrong.push(format!("flows.txt:{}: {}\n  want {}\n   got {got}", c.line, c.input, c.output));
        }
        let printed = flow.to_string();
        match printed.parse::<openflow::msg::FlowMod>() {
            Ok(again) if again == flow => {}
            Ok(again) => wrong.push(format!("flows.txt:{}: {printed} comes back as {again}", c.line)),
            Err(e) => wrong.push(format!("flows.txt:{}: {printed} is refused: {e}", c.line)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn refusals_name_the_word_and_what_was_expected() {
    for (input, column, word, expected, hint) in [
        ("in_port=1", 10, "", "actions=", None),
        ("actions=foo", 9, "foo", "an action", None),
        ("actions=ouptut:1", 9, "ouptut", "an action", Some("output")),
        ("tcp_dts=80,actions=1", 1, "tcp_dts", "a match field", Some("tcp_dst")),
        ("tcp_dst=80,actions=1", 1, "tcp_dst", "tcp or tcp6 beside it", None),
        ("tp_dst=80,actions=1", 1, "tp_dst", "tcp, udp or sctp", None),
        ("nw_src=1.2.3.4,actions=1", 1, "nw_src", "ip beside it", None),
        ("ip,nw_src=1.2.3.4/33,actions=1", 19, "33", "a prefix length from 0 to 32", None),
        ("in_port=eth9,actions=1", 9, "eth9", "a port", None),
        ("in_port=,actions=1", 1, "in_port", "a value", None),
        ("priority=70000,actions=1", 10, "70000", "a priority, a number from 0 to 65535", None),
        ("dl_src=1:2:3,actions=1", 8, "1:2:3", "an Ethernet address", None),
        ("dl_vlan=4096,actions=1", 9, "4096", "a VLAN id", None),
        ("actions=output", 9, "output", "a port", None),
        ("actions=set_field:5->foo", 22, "foo", "the name of a field", None),
        ("actions=set_field:5", 19, "5", "VALUE->FIELD", None),
        ("actions=set_field:99999999999->reg0", 19, "99999999999", "reg0, a value of 32 bits", None),
        ("actions=load:0x100->reg0[0..7]", 14, "0x100", "a number of 8 bits", None),
        ("actions=move:reg0[]->eth_src[]", 22, "eth_src[]", "32 bits", None),
        ("actions=drop,1", 9, "drop", "drop alone", None),
        ("actions=goto_table:4,1", 22, "1", "actions before goto_table", None),
        ("actions=1,meter:1", 11, "meter", "meter before actions", None),
        ("actions=write_metadata:5,write_metadata:6", 26, "write_metadata", "write_metadata once", None),
        ("actions=clone(goto_table:1)", 15, "goto_table", "an action here", None),
        ("actions=clone(1", 16, "", "a closing bracket", None),
        ("actions=conjunction(5,3/2)", 23, "3", "a clause from 1 to 2", None),
        ("actions=mod_tp_dst:80", 9, "mod_tp_dst", "a match on tcp", None),
        ("actions=set_field:1->ct_state", 22, "ct_state", "read-only", None),
        ("actions=note:123", 14, "123", "an even number", None),
        ("cookie=5/7,actions=1", 10, "7", "no mask", None),
        ("in_port=1/1,actions=1", 11, "1", "no mask", None),
    ] {
        let e = text::parse_flow(input, FlowModCommand::ADD, &NoNames).expect_err(input);
        assert_eq!((e.line, e.column, e.word.as_str()), (1, column, word), "{input}: {e}");
        assert!(e.expected.contains(expected), "{input}: {e}");
        assert_eq!(e.hint.as_deref(), hint, "{input}: {e}");
        assert!(!e.to_string().contains('\n'));
    }
}

#[test]
fn commands_know_their_words() {
    let del = |s| text::parse_flow(s, FlowModCommand::DELETE, &NoNames);
    assert!(del("in_port=1,actions=2").unwrap_err().expected.contains("no actions"));
    assert!(del("priority=3").unwrap_err().expected.contains("--strict"));
    assert!(del("cookie=5").unwrap_err().expected.contains("cookie=5/-1"));
    let f = del("cookie=7/3,out_port=2,out_group=4,ip").unwrap();
    assert_eq!((f.cookie, f.cookie_mask, f.table_id.0, f.out_port.0, f.out_group.0), (3, 3, 255, 2, 4));
    let f = text::parse_flow_line("delete_strict priority=9", FlowModCommand::ADD, &NoNames).unwrap();
    assert_eq!((f.command, f.priority), (FlowModCommand::DELETE_STRICT, 9));
}

#[test]
fn files_number_their_lines() {
    let names = vec![(openflow::PortNo(7), "eth-7".to_string())];
    let ok = "# comment\n\nadd in_port=eth-7,actions=drop # why\nip,actions=\"eth-7\"\n";
    let flows = text::parse_flows_file(ok, FlowModCommand::ADD, &names).unwrap();
    assert_eq!(flows.len(), 2);
    assert_eq!(text::print_flow_mod(&flows[1], &names), "add ip actions=output:\"eth-7\"");
    let e = text::parse_flows_file("ip,actions=1\n\n  ip,actions=zap:1\n", FlowModCommand::ADD, &names)
        .unwrap_err();
    assert_eq!((e.line, e.column, e.word.as_str()), (3, 14, "zap"));
}

#[test]
fn a_saved_dump_can_be_loaded_again() {
    let table = include_str!("cases/messages.txt");
    let dump = table.split("\n== flow\n").nth(1).and_then(|c| c.split("----\n").nth(1)).unwrap();
    let dump = dump.split("\n== ").next().unwrap();
    assert!(dump.starts_with("OFPST_FLOW reply"));
    let flows = text::parse_flows_file(dump, FlowModCommand::ADD, &NoNames).unwrap();
    assert_eq!(flows.len(), 3);
    assert_eq!(
        flows[1].to_string(),
        "add cookie=0x9,table=3,idle_timeout=3,hard_timeout=4,send_flow_rem,reset_counts,priority=5,tcp,\
         nw_src=10.0.0.0/8,tp_dst=80 actions=meter:1,set_field:1.2.3.4->ip_dst,output:2,goto_table:4"
    );
}

#[test]
fn deep_nesting_is_refused_not_followed() {
    let deep = format!("actions={}1{}", "clone(".repeat(5000), ")".repeat(5000));
    assert!(text::parse_flow(&deep, FlowModCommand::ADD, &NoNames).unwrap_err().expected.contains("nested"));
}

#[test]
fn messages_are_printed_as_the_table_says() {
    let table = include_str!("cases/messages.txt");
    let mut wrong = Vec::new();
    let mut n = 0;
    for case in table.split("\n== ").skip(1) {
        let (title, rest) = case.split_once('\n').expect("a title");
        let (hex, want) = rest.split_once("----\n").expect("bytes and words");
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let bytes: Vec<u8> = digits
            .chunks(2)
            .map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap())
            .collect();
        let got = text::print::bytes(&bytes, 2, &NoNames);
        n += 1;
        if got.trim_end() != want.trim_end() {
            wrong.push(format!("{title}\n--- want\n{want}--- got\n{got}"));
        }
        // Whatever is cut short is said to be, never a panic.
        for end in 1..bytes.len() {
            let cut = text::print::bytes(&bytes[..end], 3, &NoNames);
            assert!(cut.contains("too short") || cut.contains("***truncated"), "{title} cut at {end}: {cut}");
        }
    }
    assert!(n > 100, "only {n} cases");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
