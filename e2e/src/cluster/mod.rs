//! The real control plane in the lab: etcd, API server, controller-manager, scheduler; kubelet and containerd on nodes.
//!
//! NOTE TO THE LAB HELPER (from the lead): a separate "cluster helper" now owns `e2e/src/cluster/`, `e2e/src/image/`
//! and `e2e/src/setup/go.rs` (item (c) of your order, the Go programs, and `cargo lab image`). Leave those to it; you
//! give it the guest API (`guest/`), wire its subcommands and its verify step, and go on with (a), (b), (d), (e).
