//! What expressions can look at and do, with the kernel's numbers.

use std::ops::BitOr;

/// Defines an enum with the kernel's numbers beside its variants.
macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            pub(crate) fn number(self) -> u32 {
                match self {
                    $($name::$variant => $number,)*
                }
            }

            pub(crate) fn from_number(number: u32) -> Option<Self> {
                match number {
                    $($number => Some($name::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

/// Defines a set of bits.
macro_rules! bits {
    ($(#[$doc:meta])* $name:ident { $($(#[$bit_doc:meta])* $bit:ident = $number:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl $name {
            $($(#[$bit_doc])* pub const $bit: $name = $name($number);)*
        }

        impl BitOr for $name {
            type Output = Self;

            fn bitor(self, other: Self) -> Self {
                $name(self.0 | other.0)
            }
        }
    };
}

numbered! {
    /// What of a packet's own data a `meta` expression reads or sets (`enum nft_meta_keys`).
    MetaKey {
        /// Ethernet protocol.
        Protocol = 1,
        /// Mark.
        Mark = 3,
        /// Number of the device it came in by.
        InputIndex = 4,
        /// Number of the device it leaves by.
        OutputIndex = 5,
        /// Name of the device it came in by.
        InputName = 6,
        /// Name of the device it leaves by.
        OutputName = 7,
        /// User of the socket.
        SocketUser = 10,
        /// Trace it (`nft monitor trace`).
        Trace = 12,
        /// Its family (`NFPROTO_*`).
        NfProto = 15,
        /// Its transport protocol.
        L4Proto = 16,
        /// The bridge it came in by; bridge tables.
        BridgeInputName = 17,
        /// The bridge it leaves by; bridge tables.
        BridgeOutputName = 18,
        /// Unicast, broadcast, multicast.
        PacketType = 19,
    }
}

numbered! {
    /// What of a connection a `ct` expression reads or sets (`enum nft_ct_keys`).
    CtKey {
        /// State.
        State = 0,
        /// Direction of the packet.
        Direction = 1,
        /// Status.
        Status = 2,
        /// Mark.
        Mark = 3,
        /// Its IPv4 source, of one direction.
        SourceIp4 = 19,
        /// Its IPv4 destination, of one direction.
        DestinationIp4 = 20,
        /// Its IPv6 source, of one direction.
        SourceIp6 = 21,
        /// Its IPv6 destination, of one direction.
        DestinationIp6 = 22,
        /// Its transport protocol, of one direction.
        Protocol = 10,
        /// Its source port, of one direction.
        SourcePort = 11,
        /// Its destination port, of one direction.
        DestinationPort = 12,
    }
}

numbered! {
    /// What of a packet's route an `rt` expression reads (`enum nft_rt_keys`).
    RouteKey {
        /// The largest TCP segment that the way of the packet and the way back carry.
        TcpMss = 3,
    }
}

numbered! {
    /// A direction of a connection (`enum ip_conntrack_dir`).
    CtDirection {
        /// As the one who opened it sends.
        Original = 0,
        /// As it is answered.
        Reply = 1,
    }
}

numbered! {
    /// Where a payload's offset counts from (`enum nft_payload_bases`).
    PayloadBase {
        /// The Ethernet header.
        Link = 0,
        /// The IP header.
        Network = 1,
        /// The TCP, UDP, SCTP or ICMP header.
        Transport = 2,
    }
}

numbered! {
    /// A comparison (`enum nft_cmp_ops`).
    Comparison {
        /// Equal.
        Equal = 0,
        /// Not equal.
        NotEqual = 1,
        /// Less.
        Less = 2,
        /// Less or equal.
        LessOrEqual = 3,
        /// Greater.
        Greater = 4,
        /// Greater or equal.
        GreaterOrEqual = 5,
    }
}

numbered! {
    /// Which address NAT changes (`enum nft_nat_types`).
    NatKind {
        /// The source.
        Source = 0,
        /// The destination.
        Destination = 1,
    }
}

numbered! {
    /// What a routing lookup gives (`enum nft_fib_result`).
    FibResult {
        /// The number of the device.
        OutputIndex = 1,
        /// The name of the device.
        OutputName = 2,
        /// The type of the address (`RTN_*`).
        AddressType = 3,
    }
}

numbered! {
    /// The code of an ICMP error that fits both families (`enum nft_reject_inet_code`).
    Unreachable {
        /// No route.
        NoRoute = 0,
        /// Port unreachable.
        Port = 1,
        /// Host unreachable.
        Host = 2,
        /// Administratively prohibited.
        AdminProhibited = 3,
    }
}

numbered! {
    /// A unit of time of a rate limit, in seconds.
    TimeUnit {
        /// A second.
        Second = 1,
        /// A minute.
        Minute = 60,
        /// An hour.
        Hour = 3600,
        /// A day.
        Day = 86400,
    }
}

bits! {
    /// States of a connection (`NF_CT_STATE_BIT`).
    CtState {
        /// Not understood by connection tracking.
        INVALID = 0x1,
        /// Part of a connection seen before.
        ESTABLISHED = 0x2,
        /// Belongs to another connection, as an ICMP error.
        RELATED = 0x4,
        /// The first packet.
        NEW = 0x8,
        /// Not tracked.
        UNTRACKED = 0x40,
    }
}

bits! {
    /// Status of a connection (`enum ip_conntrack_status`).
    CtStatus {
        /// Expected by a helper.
        EXPECTED = 0x1,
        /// Answered.
        SEEN_REPLY = 0x2,
        /// Not to be given up early.
        ASSURED = 0x4,
        /// Confirmed.
        CONFIRMED = 0x8,
        /// Its source was translated.
        SOURCE_NAT = 0x10,
        /// Its destination was translated.
        DESTINATION_NAT = 0x20,
    }
}

bits! {
    /// How NAT chooses (`NF_NAT_RANGE_*`).
    NatFlags {
        /// Random ports.
        RANDOM = 0x4,
        /// The same address for one client.
        PERSISTENT = 0x8,
        /// Random ports without a hash.
        FULLY_RANDOM = 0x10,
    }
}

bits! {
    /// What a routing lookup looks up (`enum nft_fib_flags`).
    FibFlags {
        /// The source address.
        SOURCE = 0x1,
        /// The destination address.
        DESTINATION = 0x2,
        /// With the packet's mark.
        MARK = 0x4,
        /// On the device it came in by.
        INPUT = 0x8,
        /// On the device it leaves by.
        OUTPUT = 0x10,
    }
}

/// Types of addresses in routing (`RTN_*`).
pub mod address_type {
    /// Anywhere a gateway or link leads to.
    pub const UNICAST: u32 = 1;
    /// This machine.
    pub const LOCAL: u32 = 2;
    /// Broadcast.
    pub const BROADCAST: u32 = 3;
    /// Multicast.
    pub const MULTICAST: u32 = 5;
}
