// The program libcni does one operation on network plugins with the library that container runtimes use. It reads a
// request as JSON from its standard input and prints an answer as JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

type request struct {
	// Operation is add, check, del, status, gc, validate or versions.
	Operation string
	// List is the network configuration list.
	List json.RawMessage
	// Path has the plugins, Cache keeps results from ADD to DEL.
	Path, Cache string
	// Container, Namespace and Interface name the attachment.
	Container, Namespace, Interface string
	// Args are CNI_ARGS.
	Args [][2]string
	// Capabilities are what a runtime puts into runtimeConfig.
	Capabilities map[string]any
	// Valid are the attachments that GC keeps; without it nothing is said about them.
	Valid []types.GCAttachment
}

type answer struct {
	// Result is what ADD answered, Newest the same as the library reads it, in version 1.1.0.
	Result, Newest types.Result `json:",omitempty"`
	// Versions are what a plugin supports, by its name.
	Versions map[string][]string `json:",omitempty"`
	// Error is why the operation failed.
	Error string `json:",omitempty"`
}

func main() {
	var asked request
	var told answer
	err := json.NewDecoder(os.Stdin).Decode(&asked)
	if err == nil {
		err = run(&asked, &told)
	}
	if err != nil {
		told.Error = err.Error()
	}
	if err := json.NewEncoder(os.Stdout).Encode(told); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(asked *request, told *answer) (err error) {
	list, err := libcni.NetworkConfFromBytes(asked.List)
	if err != nil {
		return err
	}
	background := context.Background()
	plugins := libcni.NewCNIConfigWithCacheDir([]string{asked.Path}, asked.Cache, nil)
	attachment := &libcni.RuntimeConf{
		ContainerID:    asked.Container,
		NetNS:          asked.Namespace,
		IfName:         asked.Interface,
		Args:           asked.Args,
		CapabilityArgs: asked.Capabilities,
	}
	switch asked.Operation {
	case "add":
		if told.Result, err = plugins.AddNetworkList(background, list, attachment); err != nil {
			return err
		}
		told.Newest, err = told.Result.GetAsVersion("1.1.0")
		return err
	case "check":
		return plugins.CheckNetworkList(background, list, attachment)
	case "del":
		return plugins.DelNetworkList(background, list, attachment)
	case "status":
		return plugins.GetStatusNetworkList(background, list)
	case "gc":
		var arguments *libcni.GCArgs
		if asked.Valid != nil {
			arguments = &libcni.GCArgs{ValidAttachments: asked.Valid}
		}
		return plugins.GCNetworkList(background, list, arguments)
	case "validate":
		_, err = plugins.ValidateNetworkList(background, list)
		return err
	case "versions":
		told.Versions = map[string][]string{}
		for _, plugin := range list.Plugins {
			info, err := plugins.GetVersionInfo(background, plugin.Network.Type)
			if err != nil {
				return err
			}
			told.Versions[plugin.Network.Type] = info.SupportedVersions()
		}
		return nil
	}
	return fmt.Errorf("there is no operation %q", asked.Operation)
}
