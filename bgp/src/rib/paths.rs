//! The paths to one prefix. Nearly every prefix has one, which then needs no memory of its own.

use std::ops::{Deref, DerefMut};

use super::Path;

/// A list of paths in no order.
#[derive(Debug, Default)]
pub(super) enum Paths {
    #[default]
    None,
    One(Path),
    #[expect(clippy::box_collection, reason = "16 octets in place of 24 for each prefix of a table")]
    Many(Box<Vec<Path>>),
}

impl Paths {
    pub(super) fn push(&mut self, path: Path) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(path),
            Self::One(first) => Self::Many(Box::new(vec![first, path])),
            Self::Many(mut paths) => {
                paths.push(path);
                Self::Many(paths)
            }
        };
    }

    /// Takes one out; there must be one at this place.
    pub(super) fn swap_remove(&mut self, at: usize) {
        *self = match std::mem::take(self) {
            Self::None | Self::One(_) => Self::None,
            Self::Many(mut paths) => {
                paths.swap_remove(at);
                match <[Path; 1]>::try_from(*paths) {
                    Ok([path]) => Self::One(path),
                    Err(paths) => Self::Many(Box::new(paths)),
                }
            }
        };
    }
}

impl Deref for Paths {
    type Target = [Path];

    fn deref(&self) -> &[Path] {
        match self {
            Self::None => &[],
            Self::One(path) => std::slice::from_ref(path),
            Self::Many(paths) => paths,
        }
    }
}

impl DerefMut for Paths {
    fn deref_mut(&mut self) -> &mut [Path] {
        match self {
            Self::None => &mut [],
            Self::One(path) => std::slice::from_mut(path),
            Self::Many(paths) => paths,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;

    use super::*;
    use crate::packet::Attributes;
    use crate::rib::{Common, Local, Source};

    #[test]
    fn a_single_path_takes_the_room_of_two_pointers() {
        assert_eq!(size_of::<Paths>(), 16);
    }

    #[test]
    fn paths_come_and_go_as_in_a_vector() {
        let path = |last: u8| {
            let address = Ipv4Addr::new(192, 0, 2, last);
            Path::new(Arc::new(Common {
                source: Source::Internal(IpAddr::V4(address)),
                router_id: address,
                next_hop: address.into(),
                attributes: Attributes::default(),
                client: None,
                local: Local::default(),
            }))
        };
        let (mut paths, mut vector) = (Paths::default(), Vec::new());
        for last in 1..5 {
            paths.push(path(last));
            vector.push(path(last));
            assert_eq!(*paths, *vector);
        }
        for at in [1, 0, 1, 0] {
            paths.swap_remove(at);
            vector.swap_remove(at);
            assert_eq!(*paths, *vector);
        }
    }
}
