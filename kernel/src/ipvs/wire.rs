//! Numbers of the IPVS generic netlink family (`include/uapi/linux/ip_vs.h`).

use prefix::Family;

/// `IPVS_GENL_NAME`.
pub(super) const NAME: &str = "IPVS";
/// `IPVS_GENL_VERSION`.
pub(super) const VERSION: u8 = 1;

/// `IPVS_CMD_*`.
pub(super) mod command {
    pub(in super::super) const NEW_SERVICE: u8 = 1;
    pub(in super::super) const SET_SERVICE: u8 = 2;
    pub(in super::super) const DELETE_SERVICE: u8 = 3;
    pub(in super::super) const GET_SERVICE: u8 = 4;
    pub(in super::super) const NEW_DESTINATION: u8 = 5;
    pub(in super::super) const SET_DESTINATION: u8 = 6;
    pub(in super::super) const DELETE_DESTINATION: u8 = 7;
    pub(in super::super) const GET_DESTINATION: u8 = 8;
    pub(in super::super) const SET_CONFIG: u8 = 12;
    pub(in super::super) const GET_CONFIG: u8 = 13;
    pub(in super::super) const GET_INFO: u8 = 15;
}

/// `IPVS_CMD_ATTR_*`.
pub(super) mod top {
    pub(in super::super) const SERVICE: u16 = 1;
    pub(in super::super) const DESTINATION: u16 = 2;
    pub(in super::super) const TIMEOUT_TCP: u16 = 4;
    pub(in super::super) const TIMEOUT_TCP_FIN: u16 = 5;
    pub(in super::super) const TIMEOUT_UDP: u16 = 6;
}

/// `IPVS_SVC_ATTR_*`.
pub(super) mod service {
    pub(in super::super) const FAMILY: u16 = 1;
    pub(in super::super) const PROTOCOL: u16 = 2;
    pub(in super::super) const ADDRESS: u16 = 3;
    pub(in super::super) const PORT: u16 = 4;
    pub(in super::super) const MARK: u16 = 5;
    pub(in super::super) const SCHEDULER: u16 = 6;
    pub(in super::super) const FLAGS: u16 = 7;
    pub(in super::super) const TIMEOUT: u16 = 8;
    pub(in super::super) const NETMASK: u16 = 9;
    pub(in super::super) const STATS: u16 = 10;
    pub(in super::super) const ENGINE: u16 = 11;
    pub(in super::super) const STATS64: u16 = 12;
}

/// `IPVS_DEST_ATTR_*`.
pub(super) mod destination {
    pub(in super::super) const ADDRESS: u16 = 1;
    pub(in super::super) const PORT: u16 = 2;
    pub(in super::super) const FORWARDING: u16 = 3;
    pub(in super::super) const WEIGHT: u16 = 4;
    pub(in super::super) const UPPER_THRESHOLD: u16 = 5;
    pub(in super::super) const LOWER_THRESHOLD: u16 = 6;
    pub(in super::super) const ACTIVE: u16 = 7;
    pub(in super::super) const INACTIVE: u16 = 8;
    pub(in super::super) const PERSISTENT: u16 = 9;
    pub(in super::super) const STATS: u16 = 10;
    pub(in super::super) const FAMILY: u16 = 11;
    pub(in super::super) const STATS64: u16 = 12;
    pub(in super::super) const TUNNEL_KIND: u16 = 13;
    pub(in super::super) const TUNNEL_PORT: u16 = 14;
    pub(in super::super) const TUNNEL_FLAGS: u16 = 15;
}

/// `IPVS_INFO_ATTR_*`.
pub(super) mod info {
    pub(in super::super) const VERSION: u16 = 1;
    pub(in super::super) const TABLE_SIZE: u16 = 2;
}

/// `AF_INET` or `AF_INET6`.
pub(super) fn family_number(family: Family) -> u16 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

/// The family of `AF_INET` or `AF_INET6`.
pub(super) fn family_of(number: u16) -> Option<Family> {
    match number {
        2 => Some(Family::V4),
        10 => Some(Family::V6),
        _ => None,
    }
}
