//! What fuzzing once found stays found: every input under fuzz/kept is replayed.

use openflow::checks;
use std::path::Path;

fn replay(target: &str, check: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/kept").join(target);
    let Ok(entries) = std::fs::read_dir(&dir) else { return };
    for e in entries {
        let path = e.unwrap().path();
        println!("{}", path.display());
        check(&std::fs::read(&path).unwrap());
    }
}

#[test]
fn finds_of_the_fuzz_targets_stay_fixed() {
    replay("message", |b| {
        checks::message(b);
        checks::message_of_any_length(b);
        checks::message_in_words(&checks::with_right_length(b));
    });
    replay("match", checks::match_);
    replay("action", checks::actions);
    replay("stream", checks::stream);
    replay("flow_text", |b| {
        if let Ok(text) = std::str::from_utf8(b) {
            checks::flow_text(text)
        }
    });
    replay("trace_text", |b| {
        if let Ok(text) = std::str::from_utf8(b) {
            checks::trace_text(text)
        }
    });
}
