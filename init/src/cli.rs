//! The command line.

use std::path::PathBuf;

use clap::Parser;

use crate::conflist::Template;
use crate::plugins::{Plan, Role};

/// Installs routerd's CNI plugin and the template of the network configuration on this node.
///
/// A plugin of another origin (as `bridge` or `loopback` of the distribution) is kept unless --force is given; what is
/// replaced is kept beside it as NAME.before-routerd. A network configuration that is there already stays: of
/// kube-router's, the type `bridge` becomes `routerd-cni` and all else is as it was. --restore is the way back.
#[derive(Debug, Parser)]
#[command(name = "routerd-init", version, max_term_width = 110)]
pub struct Options {
    /// Folder that holds `routerd-cni` in the image.
    #[arg(long, env = "LOCAL_BIN_PATH", default_value = "/usr/libexec/cni")]
    pub local_bin_path: PathBuf,

    /// Folder of the node's CNI plugins.
    #[arg(long, env = "HOST_BIN_PATH", default_value = "/opt/cni/bin")]
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

    /// The network configuration; its template is put beside it as `<file>.template`.
    #[arg(
        long = "cni-conf-file",
        env = "KUBE_ROUTER_CNI_CONF_FILE",
        default_value = "/etc/cni/net.d/10-kuberouter.conflist"
    )]
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
