//! What a configuration asks for.

use crate::address::Mac;
use crate::args::Args;
use crate::config::NetConf;
use crate::error::CniError;
use crate::json::Fields;

use super::duplicates;
use super::interface::Settings;
use super::sysctls::Setting;

/// The settings of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TuningConf {
    /// Kernel settings of the pod's namespace, in the configuration's order.
    pub(super) sysctls: Vec<Setting>,
    /// What the interface shall have.
    pub(super) wanted: Settings,
}

impl TuningConf {
    /// Reads the plugin's entry, and what `args.cni`, `runtimeConfig` and `CNI_ARGS` say instead. `ifname` stands for
    /// the word `IFNAME` in the name of a sysctl.
    pub fn parse(conf: &NetConf, args: &Args, ifname: &str) -> Result<Self, CniError> {
        duplicates::refuse(conf.text())?;
        let own = conf.fields();
        // What DEL bears, because it must work.
        own.path("dataDir")?;
        let over = conf.args_cni()?;
        let sources = || over.iter().chain([&own]);
        let wanted = Settings {
            mac: mac(conf, args, over.as_ref())?,
            promiscuous: first(sources(), |fields| optional_flag(fields, "promisc"))?.filter(|on| *on),
            mtu: first(sources(), |fields| fields.number("mtu", MOST_MTU))?.filter(|mtu| *mtu != 0),
            all_multicast: first(sources(), |fields| optional_flag(fields, "allmulti"))?,
            queue_length: first(sources(), |fields| fields.number("txQLen", MOST_QUEUE))?,
        };
        Ok(Self { sysctls: sysctls(&own, over.as_ref(), ifname)?, wanted })
    }
}

/// The kernel keeps both as signed numbers.
const MOST_MTU: u32 = i32::MAX as u32;
const MOST_QUEUE: u32 = i32::MAX as u32;

/// The first source that says something.
fn first<'a, 'b: 'a, T>(
    sources: impl Iterator<Item = &'a Fields<'b>>,
    read: impl Fn(&Fields<'b>) -> Result<Option<T>, CniError>,
) -> Result<Option<T>, CniError> {
    let mut found = None;
    for source in sources {
        // All are read, so that a wrong value is told wherever it stands.
        found = found.or(read(source)?);
    }
    Ok(found)
}

fn optional_flag(fields: &Fields<'_>, key: &str) -> Result<Option<bool>, CniError> {
    let flag = fields.flag(key)?;
    Ok(fields.get(key).map(|_| flag))
}

/// `args.cni.mac`, `runtimeConfig.mac`, `CNI_ARGS`, the entry: in this order, which is not the one of `bridge`.
fn mac(conf: &NetConf, args: &Args, over: Option<&Fields<'_>>) -> Result<Option<Mac>, CniError> {
    let runtime = conf.runtime()?;
    let asked = first(over.into_iter().chain(&runtime), read_mac)?;
    let entry = read_mac(&conf.fields())?;
    Ok(asked.or(args.mac).or(entry))
}

fn read_mac(fields: &Fields<'_>) -> Result<Option<Mac>, CniError> {
    let mac: Option<Mac> = fields.parsed("mac")?;
    match mac.filter(|mac| mac.is_multicast() || mac.is_zero()) {
        Some(mac) => {
            let msg = format!("{}: no interface can have the address {mac}", fields.path_of("mac"));
            Err(CniError::config(msg).with_details("a group's address or zero"))
        }
        None => Ok(mac),
    }
}

/// The entry's settings; one that `args.cni` has too is replaced in its place.
fn sysctls(own: &Fields<'_>, over: Option<&Fields<'_>>, ifname: &str) -> Result<Vec<Setting>, CniError> {
    let mut all = settings(own, ifname)?;
    for setting in over.map(|fields| settings(fields, ifname)).transpose()?.unwrap_or_default() {
        match all.iter_mut().find(|one| one.is_same_key(&setting)) {
            Some(one) => *one = setting,
            None => all.push(setting),
        }
    }
    Ok(all)
}

fn settings(fields: &Fields<'_>, ifname: &str) -> Result<Vec<Setting>, CniError> {
    let Some(object) = fields.object("sysctl")? else { return Ok(Vec::new()) };
    let mut settings: Vec<Setting> = Vec::new();
    for (key, value) in object.all_texts()? {
        let setting = Setting::new(key, value, ifname)?;
        if let Some(other) = settings.iter().find(|one| one.is_same_key(&setting)) {
            return Err(duplicates::error(&format!("{:?} and {key:?} are the same", other.key())));
        }
        settings.push(setting);
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::UnknownKeys;

    fn parse(body: &str, args: &str) -> Result<TuningConf, CniError> {
        let conf = NetConf::parse(format!(r#"{{"name":"n"{body}}}"#).as_bytes()).unwrap();
        TuningConf::parse(&conf, &Args::parse(args, UnknownKeys::Refuse).unwrap(), "eth0")
    }

    fn mac_of(body: &str, args: &str) -> String {
        parse(body, args).unwrap().wanted.mac.map(|mac| mac.to_string()).unwrap_or_default()
    }

    #[test]
    fn the_address_is_the_first_of_four_sources() {
        let (entry, runtime, over) = (
            r#","mac":"0a:00:00:00:00:01""#,
            r#","runtimeConfig":{"mac":"0a:00:00:00:00:03"}"#,
            r#","args":{"cni":{"mac":"0a:00:00:00:00:04"}}"#,
        );
        let args = "MAC=0a:00:00:00:00:02";
        assert_eq!(mac_of(entry, ""), "0a:00:00:00:00:01");
        assert_eq!(mac_of(entry, args), "0a:00:00:00:00:02");
        assert_eq!(mac_of(&format!("{entry}{runtime}"), args), "0a:00:00:00:00:03");
        assert_eq!(mac_of(&format!("{entry}{runtime}{over}"), args), "0a:00:00:00:00:04");
        assert_eq!(mac_of(r#","runtimeConfig":{"mac":""}"#, args), "0a:00:00:00:00:02");
    }

    #[test]
    fn what_args_say_wins_over_the_entry() {
        let conf = parse(
            r#","mtu":1400,"promisc":true,"txQLen":0,"sysctl":{"net.core.somaxconn":"500","net.ipv4.x":"1"},
              "args":{"cni":{"mtu":1300,"promisc":false,"allmulti":false,"sysctl":{"net/core/somaxconn":"600"}}}"#,
            "",
        )
        .unwrap();
        let wanted = Settings {
            mtu: Some(1300),
            all_multicast: Some(false),
            queue_length: Some(0),
            ..Settings::default()
        };
        assert_eq!(conf.wanted, wanted);
        let values: Vec<&str> = conf.sysctls.iter().map(Setting::value).collect();
        assert_eq!(values, ["600", "1"]);
    }

    #[test]
    fn wrong_values_are_refused_by_key_and_place() {
        for (body, words) in [
            (r#","mtu":-1"#, "mtu must be"),
            (r#","mac":"zz""#, "mac"),
            (r#","mac":"01:00:00:00:00:00""#, "no interface can have"),
            (r#","promisc":"yes""#, "promisc must be"),
            (r#","txQLen":-1"#, "txQLen must be"),
            (r#","args":{"cni":{"mtu":"x"}}"#, "args.cni.mtu must be"),
            (r#","sysctl":{"net.core.somaxconn":500}"#, "sysctl.net.core.somaxconn must be a text"),
            (r#","sysctl":["net"]"#, "sysctl must be an object"),
            (r#","sysctl":{"net.a.b":"1","net/a/b":"2"}"#, "duplicated sysctl keys are not allowed"),
        ] {
            let error = parse(body, "").unwrap_err();
            assert!(error.to_string().contains(words), "{body}: {error}");
        }
    }
}
