//! `resolvConf`: name service settings from a file of the node (`resolv.conf(5)`).

use std::path::Path;

use crate::error::{CniError, Code};
use crate::result::Dns;

/// Settings of one such file never come near this size.
const MOST_BYTES: u64 = 1 << 20;

/// Reads the file at `path`.
pub(super) fn read(path: &Path) -> Result<Dns, CniError> {
    let doing = || format!("read ipam.resolvConf {}", path.display());
    let size = std::fs::metadata(path).map_err(|error| CniError::io(doing(), &error))?.len();
    if size > MOST_BYTES {
        return Err(CniError::new(Code::IO, format!("{}: {size} bytes are too many", doing())));
    }
    let text = std::fs::read_to_string(path).map_err(|error| CniError::io(doing(), &error))?;
    Ok(parse(&text))
}

fn parse(text: &str) -> Dns {
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
    fn a_missing_file_is_named() {
        let error = read(Path::new("/nonexistent/resolv.conf")).unwrap_err();
        assert_eq!(error.code, Code::IO);
        assert!(error.msg.contains("/nonexistent/resolv.conf"));
    }
}
