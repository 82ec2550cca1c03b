//go:build tools

// Package tools holds the cluster DNS of the lab in this module's requirements.
package tools

import _ "github.com/coredns/coredns"
