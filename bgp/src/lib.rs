//! A BGP speaker.
