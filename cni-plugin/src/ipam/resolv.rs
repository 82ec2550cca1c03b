//! `resolvConf`: name service settings from a file of the node (`resolv.conf(5)`).

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;

use crate::error::{CniError, Code};
use crate::result::Dns;

/// Settings of one such file never come near this size.
const MOST_BYTES: u64 = 1 << 20;

/// Reads the file at `path`.
pub(super) fn read(path: &Path) -> Result<Dns, CniError> {
    let doing = || format!("read ipam.resolvConf {}", path.display());
    // A pipe that nobody writes to must not hold the plugin.
    let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
    let mut text = String::new();
    file.and_then(|file| file.take(MOST_BYTES + 1).read_to_string(&mut text))
        .map_err(|error| CniError::io(doing(), &error))?;
    if text.len() as u64 > MOST_BYTES {
        return Err(CniError::new(Code::IO, format!("{}: more than {MOST_BYTES} bytes", doing())));
    }
    Ok(parse(&text))
}

pub(super) fn parse(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        let mut words = line.split_whitespace();
        let keyword = words.next().unwrap_or_default();
        let mut values = words.map(str::to_owned);
        match keyword {
            "nameserver" => dns.nameservers.extend(values.next()),
            "domain" => dns.domain = values.next().unwrap_or_default(),
            "search" => dns.search.extend(values),
            "options" => dns.options.extend(values),
            _ => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_blank_lines_are_skipped_and_lists_are_read() {
        let dns = parse(
            "# a\n; b\n\nnameserver 192.0.2.1\n nameserver\t192.0.2.2 # why\ndomain example.com\n\
             search a.example b.example\noptions ndots:5 timeout:1\nsortlist x\nnameserver\n",
        );
        assert_eq!(dns.nameservers, ["192.0.2.1", "192.0.2.2"]);
        assert_eq!(dns.domain, "example.com");
        assert_eq!(dns.search, ["a.example", "b.example"]);
        assert_eq!(dns.options, ["ndots:5", "timeout:1"]);
    }

    #[test]
    fn a_file_without_an_end_is_refused() {
        assert_eq!(read(Path::new("/dev/zero")).unwrap_err().code, Code::IO);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read(Path::new("/nonexistent/resolv.conf")).unwrap_err();
        assert_eq!(error.code, Code::IO);
        assert!(error.msg.contains("/nonexistent/resolv.conf"));
    }
}
