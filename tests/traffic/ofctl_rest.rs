//! os-ken's `ofctl_rest`: a controller that others drive by HTTP. Everything it can ask and change, against the running switch.

use serde_json::{json, Value};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tests::controller::OsKen;
use tests::shared;
use tests::switch::Lab;
use tests::wait_for;

/// One HTTP request inside the switch's namespace: status and body.
fn http(lab: &Lab, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    lab.ns.enter(move || {
        let mut s = TcpStream::connect("127.0.0.1:8080").ok()?;
        s.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        s.write_all(request.as_bytes()).ok()?;
        let mut all = String::new();
        s.read_to_string(&mut all).ok()?;
        let (head, body) = all.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_string()))
    })
}

fn get(lab: &Lab, what: &str) -> Value {
    let (status, body) = http(lab, "GET", &format!("/stats/{what}/225"), "").expect("an answer");
    assert_eq!(status, 200, "{what}: {body}");
    let mut v: Value = serde_json::from_str(&body).expect("JSON");
    v["225"].take()
}

fn post(lab: &Lab, what: &str, mut body: Value) {
    body["dpid"] = json!(225);
    let (status, text) = http(lab, "POST", &format!("/stats/{what}"), &body.to_string()).expect("an answer");
    assert_eq!(status, 200, "{what} {body}: {text}");
}

#[test]
fn everything_that_ofctl_rest_asks_and_changes_works() {
    let _quiet = shared();
    let lab = Lab::new(2, &["--controller", "tcp:127.0.0.1:6653,max_backoff=200"]);
    let osken = OsKen::start(&lab.ns, &lab.dir, "ofctl_rest.py");
    wait_for("the switch at ofctl_rest", Duration::from_secs(20), || {
        http(&lab, "GET", "/stats/switches", "").filter(|a| *a == (200, "[225]".into()))
    });
    // What it knows of a request is done shortly after it was answered.
    let flows = |want: usize| {
        wait_for("the flow entries", Duration::from_secs(5), || {
            let text = lab.switch.ofctl(&["--no-stats", "dump-flows", "br0"]);
            (text.matches("actions=").count() == want).then_some(text)
        })
    };
    for (what, holds) in [
        ("desc", "mfr_desc"),
        ("aggregateflow", "flow_count"),
        ("table", "lookup_count"),
        ("tablefeatures", "max_entries"),
        ("port", "rx_packets"),
        ("portdesc", "hw_addr"),
        ("queueconfig", "queues"),
        ("groupfeatures", "SELECT_WEIGHT"),
        ("meterfeatures", "DSCP_REMARK"),
        ("role", "EQUAL"),
    ] {
        assert!(get(&lab, what).to_string().contains(holds), "{what}: {}", get(&lab, what));
    }
    for what in ["flow", "group", "groupdesc", "meter", "meterconfig", "queue"] {
        assert_eq!(get(&lab, what), json!([]), "{what}");
    }
    assert_eq!(get(&lab, "table").as_array().expect("tables").len(), 254);
    // Meters, groups, flow entries that use them: hosts talk.
    let meter =
        |rate: u32| json!({"meter_id": 3, "flags": "PKTPS", "bands": [{"type": "DROP", "rate": rate}]});
    post(&lab, "meterentry/add", meter(1000));
    post(&lab, "meterentry/modify", meter(2000));
    let group = |port: u32| json!({"group_id": 4, "type": "ALL", "buckets": [{"actions": [{"type": "OUTPUT", "port": port}]}]});
    post(&lab, "groupentry/add", group(1));
    post(&lab, "groupentry/modify", group(2));
    let there = json!({"priority": 10, "match": {"in_port": 1},
        "actions": [{"type": "METER", "meter_id": 3}, {"type": "GROUP", "group_id": 4}]});
    let back = json!({"priority": 10, "match": {"in_port": 2}, "actions": [{"type": "OUTPUT", "port": 1}]});
    post(&lab, "flowentry/add", there.clone());
    post(&lab, "flowentry/add", back.clone());
    flows(2);
    assert!(lab.ping(1, 2, 3));
    let (stats, meters, groups) = (get(&lab, "flow"), get(&lab, "meter"), get(&lab, "group"));
    assert!(stats.as_array().expect("flows").iter().all(|f| f["packet_count"].as_u64() > Some(0)), "{stats}");
    assert!(meters[0]["packet_in_count"].as_u64() > Some(0), "{meters}");
    assert!(groups[0]["packet_count"].as_u64() > Some(0), "{groups}");
    assert_eq!(get(&lab, "meterconfig")[0]["bands"][0]["rate"], json!(2000));
    assert!(get(&lab, "groupdesc").to_string().contains("OUTPUT:2"));
    // Modify, strictly and not; delete, strictly and not; clear.
    let drop = |priority: u32| json!({"priority": priority, "match": {"in_port": 2}, "actions": []});
    post(&lab, "flowentry/modify_strict", drop(9));
    post(&lab, "flowentry/modify", drop(9));
    wait_for("the modification", Duration::from_secs(5), || {
        flows(2).contains("in_port=2 actions=drop").then_some(())
    });
    assert!(!lab.ping(1, 2, 1));
    post(&lab, "flowentry/delete_strict", drop(9));
    post(&lab, "flowentry/delete_strict", drop(10));
    flows(1);
    post(&lab, "flowentry/add", back);
    flows(2);
    post(&lab, "flowentry/delete", json!({"match": {"in_port": 1}}));
    flows(1);
    post(&lab, "groupentry/delete", json!({"group_id": 4}));
    post(&lab, "meterentry/delete", json!({"meter_id": 3}));
    let (status, _) = http(&lab, "DELETE", "/stats/flowentry/clear/225", "").expect("an answer");
    assert_eq!(status, 200);
    flows(0);
    wait_for("no group and no meter", Duration::from_secs(5), || {
        (get(&lab, "groupdesc") == json!([]) && get(&lab, "meterconfig") == json!([])).then_some(())
    });
    post(&lab, "role", json!({"role": "MASTER"}));
    wait_for("the role", Duration::from_secs(5), || {
        get(&lab, "role").to_string().contains("MASTER").then_some(())
    });
    // Nothing of it was refused.
    let text = lab.switch.ofctl(&["--json", "list-connections", "br0"]);
    let all: Value = serde_json::from_str(&text).expect("JSON");
    let mine =
        all["br0"].as_array().expect("connections").iter().find(|c| c["name"].to_string().contains("6653"));
    assert_eq!(
        mine.expect("the controller")["stats"]["errors_sent"],
        json!(0),
        "{text}\n{}",
        osken.log_text()
    );
}
