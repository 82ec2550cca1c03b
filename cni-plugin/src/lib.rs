//! CNI types and the plugin.
