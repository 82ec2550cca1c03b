//! Tests of the plane: pure ones, and ones with real packets in namespaces.

mod adoption;
mod crowd;
mod desired;
mod fixture;
mod flows;
mod foreign;
mod index;
mod lab;
mod plan;
mod refused;
mod scale;
mod semantics;
mod services;
mod touched;
mod upkeep;
mod work;
