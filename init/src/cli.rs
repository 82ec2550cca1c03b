//! The command line.

use std::env;
use std::path::PathBuf;

use clap::Parser;

use crate::conflist::Template;
use crate::plugins::{Plan, Role};

/// Where kube-router's manifests have the network configuration.
const CONFLIST: &str = "/etc/cni/net.d/10-kuberouter.conflist";

/// The path in the environment variable `name`. One that is empty counts as not set, as in kube-router's shell.
fn variable(name: &str, default: &str) -> PathBuf {
    env::var_os(name).filter(|value| !value.is_empty()).map_or_else(|| default.into(), PathBuf::from)
}

/// Installs routerd's CNI plugin and the template of the network configuration on this node.
///
/// A plugin of another origin (as `bridge` or `loopback` of the distribution) is kept unless --force is given; what is
/// replaced is kept beside it as NAME.before-routerd. A network configuration that is there already stays: of
/// kube-router's, the type `bridge` becomes `routerd-cni` and all else is as it was. --restore is the way back.
#[derive(Debug, Parser)]
#[command(name = "routerd-init", version, max_term_width = 110)]
pub struct Options {
    /// Folder that holds `routerd-cni` in the image; else $LOCAL_BIN_PATH.
    #[arg(long, default_value_os_t = variable("LOCAL_BIN_PATH", "/usr/libexec/cni"))]
    pub local_bin_path: PathBuf,

    /// Folder of the node's CNI plugins; else $HOST_BIN_PATH.
    #[arg(long, default_value_os_t = variable("HOST_BIN_PATH", "/opt/cni/bin"))]
    pub host_bin_path: PathBuf,

    /// Names the plugin is installed by.
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = Role::DEFAULT)]
    pub names: Vec<Role>,

    /// Replace plugins of another origin too.
    #[arg(long)]
    pub force: bool,

    /// Undo: remove what is routerd's and put back what it replaced.
    #[arg(long, conflicts_with_all = ["force", "cni_conf"])]
    pub restore: bool,

    /// The network configuration, else $KUBE_ROUTER_CNI_CONF_FILE; its template is put beside it as `<file>.template`.
    #[arg(long = "cni-conf-file", default_value_os_t = variable("KUBE_ROUTER_CNI_CONF_FILE", CONFLIST))]
    pub conflist: PathBuf,

    /// The template to install, as from a ConfigMap; else the built-in one.
    #[arg(long)]
    pub cni_conf: Option<PathBuf>,

    /// Install no network configuration (as routerd's --enable-cni=false).
    #[arg(long)]
    pub no_cni_conf: bool,
}

impl Options {
    /// What to install of plugins.
    pub fn plugins(&self) -> Plan {
        Plan {
            source: self.local_bin_path.join(Role::Routerd.name()),
            target: self.host_bin_path.clone(),
            names: self.names.clone(),
            force: self.force,
        }
    }

    /// Where the template comes from.
    pub fn template(&self) -> Template {
        self.cni_conf.clone().map_or(Template::BuiltIn, Template::File)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_has_kube_routers_defaults() {
        Options::command().debug_assert();
        let options = Options::parse_from(["routerd-init"]);
        assert_eq!(options.host_bin_path, PathBuf::from("/opt/cni/bin"));
        assert_eq!(options.conflist, PathBuf::from("/etc/cni/net.d/10-kuberouter.conflist"));
        assert_eq!(options.names, Role::DEFAULT);
    }

    #[test]
    fn names_are_a_list_and_an_unknown_one_is_refused_with_the_known_ones() {
        let options = Options::parse_from(["routerd-init", "--names", "routerd-cni,bridge"]);
        assert_eq!(options.names, [Role::Routerd, Role::Bridge]);
        let error = Options::try_parse_from(["routerd-init", "--names", "flannel"]).unwrap_err().to_string();
        assert!(error.contains("flannel") && error.contains("host-local"), "{error}");
    }
}
