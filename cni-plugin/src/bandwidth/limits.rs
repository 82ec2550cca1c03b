//! The limits a configuration asks for.

use crate::config::NetConf;
use crate::error::CniError;
use crate::json::Fields;

/// The limits of a pod; at least one of them is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of what goes to the pod.
    pub ingress: Option<Limit>,
    /// Of what comes from the pod.
    pub egress: Option<Limit>,
}

/// A limit of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Bits a second, at least 8.
    pub rate: u64,
    /// How many bits may be sent at once after a pause, at least 8 and less than 32 GiB.
    pub burst: u64,
}

impl Limits {
    /// What the configuration asks for; `None` is no limit. If one of the four keys stands in the plugin's own entry,
    /// what the runtime says does not count, as in the reference plugin; it must be readable all the same.
    pub fn parse(conf: &NetConf) -> Result<Option<Self>, CniError> {
        let own = conf.fields();
        let keys = ["ingressRate", "ingressBurst", "egressRate", "egressBurst"];
        let asked = match conf.runtime()?.map(|runtime| runtime.object("bandwidth")).transpose()?.flatten() {
            Some(bandwidth) => Self::read(&bandwidth)?,
            None => None,
        };
        let has_own = keys.into_iter().any(|key| own.get(key).is_some());
        if has_own { Self::read(&own) } else { Ok(asked) }
    }

    fn read(fields: &Fields<'_>) -> Result<Option<Self>, CniError> {
        let limits = Self {
            ingress: limit(fields, "ingressRate", "ingressBurst")?,
            egress: limit(fields, "egressRate", "egressBurst")?,
        };
        Ok((limits.ingress.is_some() || limits.egress.is_some()).then_some(limits))
    }
}

fn limit(fields: &Fields<'_>, rate_key: &str, burst_key: &str) -> Result<Option<Limit>, CniError> {
    let rate = fields.big_number(rate_key)?.unwrap_or(0);
    let burst = fields.big_number(burst_key)?.unwrap_or(0);
    let wrong = |msg: &str, key: &str| {
        let details =
            format!("{} is {rate}, {} is {burst}", fields.path_of(rate_key), fields.path_of(burst_key));
        Err(CniError::config(format!("{msg}: {}", fields.path_of(key))).with_details(details))
    };
    match (rate, burst) {
        (0, 0) => Ok(None),
        (_, 0) => wrong("if rate is set, burst must also be set", burst_key),
        (0, _) => wrong("if burst is set, rate must also be set", rate_key),
        (_, burst) if burst / 8 >= u64::from(u32::MAX) => wrong("burst cannot be more than 4GB", burst_key),
        (..8, _) => wrong("rate must be at least 8 bits a second", rate_key),
        (_, ..8) => wrong("burst must be at least 8 bits", burst_key),
        (rate, burst) if Limit { rate, burst }.holds_nothing() => {
            wrong("burst is less than the kernel can measure at this rate", burst_key)
        }
        (rate, burst) => Ok(Some(Limit { rate, burst })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    fn parse(body: &str) -> Result<Option<Limits>, CniError> {
        Limits::parse(&NetConf::parse(format!(r#"{{"name":"n"{body}}}"#).as_bytes()).unwrap())
    }

    #[test]
    fn what_containerd_sends_is_read_and_no_limit_is_none() {
        let limits = parse(
            r#","runtimeConfig":{"bandwidth":{"IngressRate":8000,"IngressBurst":4294967295,"EgressRate":0,
                "EgressBurst":0}}"#,
        );
        let limit = Limit { rate: 8000, burst: 0xffff_ffff };
        assert_eq!(limits.unwrap(), Some(Limits { ingress: Some(limit), egress: None }));
        for body in
            ["", r#","runtimeConfig":{}"#, r#","runtimeConfig":{"bandwidth":null}"#, r#","egressRate":0"#]
        {
            assert_eq!(parse(body).unwrap(), None, "{body}");
        }
    }

    #[test]
    fn one_key_of_the_entry_hides_what_the_runtime_says() {
        let runtime = r#""runtimeConfig":{"bandwidth":{"ingressRate":8,"ingressBurst":8}}"#;
        assert!(parse(&format!(",{runtime}")).unwrap().is_some());
        assert_eq!(parse(&format!(r#","egressRate":0,{runtime}"#)).unwrap(), None);
    }

    #[test]
    fn a_half_limit_and_one_that_is_too_large_are_refused_by_key() {
        let largest = (u64::from(u32::MAX) + 1) * 8 - 16;
        assert!(parse(&format!(r#","egressRate":8000,"egressBurst":{largest}"#)).unwrap().is_some());
        let too_large = largest + 16;
        for (body, words, key) in [
            (r#","egressRate":80"#.to_owned(), "if rate is set, burst must also be set", "egressBurst"),
            (r#","ingressBurst":80"#.to_owned(), "if burst is set, rate must also be set", "ingressRate"),
            (format!(r#","egressRate":80,"egressBurst":{too_large}"#), "more than 4GB", "egressBurst"),
            (r#","egressRate":7,"egressBurst":80"#.to_owned(), "at least 8", "egressRate"),
            (r#","egressRate":8,"egressBurst":7"#.to_owned(), "at least 8", "egressBurst"),
            (r#","egressRate":40000000000,"egressBurst":80"#.to_owned(), "at this rate", "egressBurst"),
            (r#","egressRate":-1,"egressBurst":80"#.to_owned(), "whole number", "egressRate"),
            (r#","egressRate":"1M","egressBurst":80"#.to_owned(), "whole number", "egressRate"),
        ] {
            let error = parse(&body).unwrap_err();
            assert_eq!(error.code, Code::CONFIG);
            assert!(error.msg.contains(words) && error.msg.contains(key), "{body}: {error}");
        }
    }
}
