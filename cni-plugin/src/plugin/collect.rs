//! GC: which attachments a runtime says are still there.

use std::collections::BTreeSet;

use crate::config::NetConf;
use crate::env::is_identifier;
use crate::error::CniError;
use crate::ipam::Owner;
use crate::json::Fields;

/// The key since CNI 1.1.0, and its name in early texts of it, which libcni sends too.
const KEYS: [&str; 2] = ["cni.dev/valid-attachments", "cni.dev/attachments"];

/// The attachments to keep. `None` if the runtime did not say, which must not be taken for "none is valid"; `null`
/// however is how CRI-O writes an empty list.
pub(crate) fn valid_attachments(conf: &NetConf) -> Result<Option<BTreeSet<Owner>>, CniError> {
    let fields = conf.fields();
    let Some(key) = KEYS.into_iter().find(|key| fields.has(key)) else { return Ok(None) };
    let mut valid = BTreeSet::new();
    for entry in fields.objects(key)? {
        let container_id = required(&entry, "containerID")?;
        if !is_identifier(container_id) {
            let place = entry.path_of("containerID");
            return Err(CniError::config(format!("{place}: {container_id:?} is no container's id")));
        }
        valid.insert(Owner::new(container_id, required(&entry, "ifname")?));
    }
    Ok(Some(valid))
}

/// An entry that says half of whom it means must not make the whole pod one that is gone.
fn required<'a>(entry: &Fields<'a>, key: &str) -> Result<&'a str, CniError> {
    match entry.text_or_empty(key)? {
        "" => Err(CniError::config(format!("{} is missing", entry.path_of(key)))),
        text => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid(body: &str) -> Result<Option<BTreeSet<Owner>>, CniError> {
        valid_attachments(&NetConf::parse(format!(r#"{{"name":"n"{body}}}"#).as_bytes()).unwrap())
    }

    #[test]
    fn absent_is_unknown_but_null_and_empty_mean_none() {
        assert_eq!(valid("").unwrap(), None);
        assert_eq!(valid(r#","cni.dev/valid-attachments":null"#).unwrap(), Some(BTreeSet::new()));
        assert_eq!(valid(r#","cni.dev/attachments":[]"#).unwrap(), Some(BTreeSet::new()));
    }

    #[test]
    fn the_final_key_is_preferred_and_nonsense_frees_nothing() {
        let both =
            r#","cni.dev/attachments":[],"cni.dev/valid-attachments":[{"containerID":"c1","ifname":"eth0"}]"#;
        assert_eq!(valid(both).unwrap(), Some(BTreeSet::from([Owner::new("c1", "eth0")])));
        for bad in [
            r#"[{"ifname":"eth0"}]"#,
            r#"[{"containerID":"c1"}]"#,
            r#"[{"containerID":"../c1","ifname":"eth0"}]"#,
            r#"["c1"]"#,
            r#""c1""#,
        ] {
            assert!(valid(&format!(r#","cni.dev/valid-attachments":{bad}"#)).is_err(), "{bad}");
        }
    }
}
