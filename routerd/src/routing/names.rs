//! Names of tunnels, as kube-router gives them: `tun-` and eleven hexadecimal digits of the SHA-256 of the other node's
//! address without its dots and colons.

use std::net::IpAddr;

use sha2::{Digest as _, Sha256};

const BEGIN: &str = "tun-";
const DIGITS: usize = 11;

fn digits_of(text: &str) -> String {
    let digits = Sha256::digest(text).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    format!("{BEGIN}{}", &digits[..DIGITS])
}

/// The names for a tunnel to `remote`: kube-router's, and one for when that is taken, because without dots 21.3.0.4 and
/// 2.13.0.4 are one.
pub(super) fn names_of(remote: IpAddr) -> [String; 2] {
    let text = remote.to_string();
    [digits_of(&text.replace(['.', ':'], "")), digits_of(&text)]
}

/// True if a device of this name that leads to `remote` is a tunnel of routerd or kube-router.
pub fn is_name_of(name: &str, remote: IpAddr) -> bool {
    names_of(remote).iter().any(|known| known == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Computed with `printf 1921682042 | sha256sum` and `printf 2001db81 | sha256sum`.
    #[test]
    fn names_are_kube_routers() {
        assert_eq!(names_of(address("192.168.20.42"))[0], "tun-ef0c797c1b5");
        assert_eq!(names_of(address("2001:db8::1"))[0], "tun-5c79b9c1639");
    }

    #[test]
    fn addresses_that_kube_router_cannot_tell_apart_have_a_second_name_each() {
        let [one, other] = ["21.3.0.4", "2.13.0.4"].map(|text| names_of(address(text)));
        assert_eq!(one[0], other[0]);
        assert_ne!(one[1], other[1]);
        assert!(is_name_of(&one[1], address("21.3.0.4")) && !is_name_of(&one[1], address("2.13.0.4")));
    }
}
