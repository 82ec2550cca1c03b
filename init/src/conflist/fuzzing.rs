//! The reading of a configuration of others, as a function for a fuzzer (`fuzz/`, `cargo lab fuzz`). No file is touched.

use std::path::Path;

use serde_json::Value;

use super::{adopt, check, pretty, shaped};

/// Reads `data` as a configuration that is to be installed or taken over.
///
/// # Panics
///
/// If what was read breaks a promise.
pub fn install(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let conf = match check::parse(text) {
        Ok(conf) => conf,
        Err(reason) => {
            assert!(!reason.is_empty(), "{text}");
            return;
        }
    };
    assert!(check::programs(&conf).iter().all(|name| !name.is_empty()));
    // A template goes into a file of either form, if that form can hold it, and is then of that form.
    for name in ["x.conflist", "x.conf"] {
        let Ok(text) = shaped(text.to_owned(), Path::new(name)) else { continue };
        assert_eq!(shaped(text.clone(), Path::new(name)), Ok(text), "{name}");
    }
    // What is taken over can be read again, and is not taken over twice.
    let mut ours = conf.clone();
    let changed = adopt::adopt(&mut ours);
    assert_eq!(changed, ours != conf);
    assert!(!adopt::adopt(&mut ours.clone()));
    let list = if ours.contains_key("plugins") { ours } else { adopt::as_list(ours) };
    let again = check::parse(&pretty(list.clone()));
    assert!(again.is_ok(), "{again:?}: {}", Value::Object(list));
}
