//! Whose a kernel object is: the same text as alias of a device and as comment of an nf_tables rule or element.
//!
//! `routerd-cni:<network>/<container id>/<interface>`. With it everything of an attachment is found again, and removed,
//! without its configuration, its namespace or a file.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::ipam::Owner;
use crate::request::Request;

/// How every tag begins.
const MARK: &str = "routerd-cni:";
/// The longest tag in bytes: nf_tables takes comments of 128 bytes with their final NUL (`NFTNL_UDATA_COMMENT_MAXLEN`).
pub const MOST_TAG: usize = 127;
/// What a shortened part begins with. No identifier of CNI has it.
const SHORTENED: char = '~';

/// The attachment an object belongs to.
///
/// A network and an id that are too long for [`MOST_TAG`] are both replaced by a checksum when the tag is made. So two
/// tags are equal if and only if they are of the same attachment, whichever was read back and whichever was made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    network: String,
    container_id: String,
    ifname: String,
}

impl Tag {
    /// The tag of the attachment `ifname` of `container_id` to `network`.
    pub fn new(network: &str, container_id: &str, ifname: &str) -> Self {
        let length = MARK.len() + network.len() + container_id.len() + ifname.len() + 2;
        let part = |text: &str| if length > MOST_TAG { shortened(text) } else { text.to_owned() };
        Self { network: part(network), container_id: part(container_id), ifname: ifname.to_owned() }
    }

    /// The tag of `owner` in `network`.
    pub fn of(network: &str, owner: &Owner) -> Self {
        Self::new(network, &owner.container_id, &owner.ifname)
    }

    /// The tag of the attachment that a request is about.
    pub fn of_request(request: &Request) -> Self {
        Self::new(&request.conf.name, &request.env.container_id, &request.env.ifname)
    }

    /// True if it is the tag of `owner` in `network`.
    pub fn is_of(&self, network: &str, owner: &Owner) -> bool {
        *self == Self::of(network, owner)
    }

    /// True if it is the tag of an attachment to `network`.
    pub fn is_in(&self, network: &str) -> bool {
        same(&self.network, network)
    }

    /// True if it is the tag of an attachment of the container `container_id`.
    pub fn is_of_container(&self, container_id: &str) -> bool {
        same(&self.container_id, container_id)
    }

    /// Its first 60 bits of checksum as 15 hexadecimal digits: short enough for a key of the length of a device's name.
    pub fn checksum(&self) -> String {
        let mut digits = shortened(&self.to_string());
        digits.remove(0);
        digits.truncate(15);
        digits
    }

    /// The network's name, or `~` and its checksum.
    pub fn network(&self) -> &str {
        &self.network
    }

    /// The container's id, or `~` and its checksum.
    pub fn container_id(&self) -> &str {
        &self.container_id
    }

    /// The interface in the pod.
    pub fn ifname(&self) -> &str {
        &self.ifname
    }
}

fn same(part: &str, whole: &str) -> bool {
    part == whole || (part.starts_with(SHORTENED) && part == shortened(whole))
}

/// `~` and the first 128 bits of the SHA-256 in hexadecimal digits. It must never change: objects outlive an upgrade.
fn shortened(text: &str) -> String {
    let digest = Sha256::digest(text);
    let first = digest.iter().take(16).fold(0_u128, |number, byte| (number << 8) | u128::from(*byte));
    format!("{SHORTENED}{first:032x}")
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MARK}{}/{}/{}", self.network, self.container_id, self.ifname)
    }
}

/// The text is no tag: the object is somebody else's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no tag of routerd-cni")]
pub struct NotATag(String);

impl FromStr for Tag {
    type Err = NotATag;

    fn from_str(text: &str) -> Result<Self, NotATag> {
        let mut parts = text.strip_prefix(MARK).unwrap_or_default().split('/');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(network), Some(container_id), Some(ifname), None)
                if ![network, container_id, ifname].contains(&"") =>
            {
                Ok(Self {
                    network: network.to_owned(),
                    container_id: container_id.to_owned(),
                    ifname: ifname.to_owned(),
                })
            }
            _ => Err(NotATag(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(letter: &str) -> String {
        letter.repeat(64)
    }

    #[test]
    fn what_a_runtime_sends_is_written_out() {
        let tag = Tag::new("kubernetes", &long("a"), "eth0");
        assert_eq!(tag.to_string(), format!("routerd-cni:kubernetes/{}/eth0", long("a")));
        assert_eq!(tag.to_string().parse::<Tag>().unwrap(), tag);
        assert!(tag.is_in("kubernetes") && !tag.is_in("other"));
        assert!(tag.is_of_container(&long("a")) && !tag.is_of_container("a"));
    }

    #[test]
    fn what_is_too_long_for_a_comment_is_known_by_its_checksum() {
        let (network, id) = ("n".repeat(200), long("b"));
        let tag = Tag::new(&network, &id, "interface-of-15");
        let text = tag.to_string();
        assert!(text.len() <= MOST_TAG, "{text}");
        let read: Tag = text.parse().unwrap();
        assert_eq!(read, tag);
        assert!(read.is_of(&network, &Owner::new(id.as_str(), "interface-of-15")));
        assert!(read.is_in(&network) && read.is_of_container(&id));
        assert!(!read.is_in(&"m".repeat(200)) && !read.is_of(&network, &Owner::new(id, "eth1")));
    }

    #[test]
    fn the_longest_that_fits_is_kept_and_one_more_byte_is_not() {
        let fits = MOST_TAG - MARK.len() - "/c/eth0".len();
        assert_eq!(Tag::new(&"n".repeat(fits), "c", "eth0").to_string().len(), MOST_TAG);
        assert!(Tag::new(&"n".repeat(fits + 1), "c", "eth0").network().starts_with('~'));
    }

    #[test]
    fn the_words_of_others_are_no_tags() {
        for text in
            ["", "routerd-cni:", "routerd-cni:n/c", "routerd-cni:n/c/i/x", "routerd-cni:n//i", "n/c/i"]
        {
            assert!(text.parse::<Tag>().is_err(), "{text:?}");
        }
    }
}
