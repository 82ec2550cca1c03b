//go:build tools

package main

import (
	// cnitool is built from this module's requirements, too.
	_ "github.com/containernetworking/cni/cnitool"
)
