// Program k3s stands in for K3s in the lab, where K3s itself cannot be had: K3s' command line, files, ports and join
// protocol over the real etcd and Kubernetes. It is built for the lab alone and says "standin" in its version.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	"unterbau.internal/k3s/agent"
	"unterbau.internal/k3s/command"
	"unterbau.internal/k3s/config"
	"unterbau.internal/k3s/server"
)

func main() {
	name := filepath.Base(os.Args[0])
	if _, own := parts[name]; !own && name != "kubectl" && name != "crictl" && name != "ctr" && name != "etcd" {
		if len(os.Args) < 2 {
			usage()
		}
		os.Args = os.Args[1:]
		name = os.Args[0]
	}
	if err := run(name, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "k3s: fatal: %v\n", err)
		os.Exit(1)
	}
}

// parts are Kubernetes' own programs.
var parts = map[string]func() *cobra.Command{
	"kube-apiserver":          newAPIServer,
	"kube-controller-manager": controllers.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kubelet":                 newKubelet,
	"kube-proxy":              proxy.NewProxyCommand,
}

// newKubelet takes a context since Kubernetes 1.34 only; the kubelet sets up its signals itself.
func newKubelet() *cobra.Command {
	switch made := any(kubelet.NewKubeletCommand).(type) {
	case func(context.Context) *cobra.Command:
		return made(context.Background())
	case func() *cobra.Command:
		return made()
	}
	panic("the kubelet's command is made in another way")
}

func run(name string, arguments []string) error {
	if part, known := parts[name]; known {
		os.Exit(cli.Run(part()))
	}
	switch name {
	case "server":
		return server.Run(arguments)
	case "agent":
		return runAgent(arguments)
	case "etcd":
		etcdmain.Main(os.Args)
		return nil
	case "kubectl":
		if os.Getenv("KUBECONFIG") == "" && os.Geteuid() == 0 {
			os.Setenv("KUBECONFIG", config.Kubeconfig)
		}
		if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
			cmdutil.CheckErr(err)
		}
		return nil
	case "ctr", "crictl":
		return outside(name, arguments)
	case "--version", "-v":
		fmt.Printf("k3s version %s (standin)\ngo version %s\n", config.Version(), runtime.Version())
		return nil
	}
	known, err := command.Run(name, arguments)
	if !known {
		usage()
	}
	return err
}

// outside are programs that K3s has within itself and the lab has from Debian, told where K3s' containerd listens.
func outside(name string, arguments []string) error {
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		path := filepath.Join(dir, name)
		if target, err := filepath.EvalSymlinks(path); err != nil || isSelf(target) {
			continue
		}
		os.Setenv("CONTAINERD_ADDRESS", "/run/k3s/containerd/containerd.sock")
		os.Setenv("CONTAINERD_NAMESPACE", "k8s.io")
		os.Setenv("CONTAINER_RUNTIME_ENDPOINT", "unix:///run/k3s/containerd/containerd.sock")
		return syscall.Exec(path, append([]string{name}, arguments...), os.Environ())
	}
	return fmt.Errorf("%s is not on this machine's PATH", name)
}

func isSelf(path string) bool {
	self, err := os.Executable()
	return err == nil && self == path
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: k3s server|agent|kubectl|crictl|ctr|etcd-snapshot|secrets-encrypt|token|certificate|check-config|--version")
	os.Exit(1)
}

func runAgent(arguments []string) error {
	cfg, err := config.Load("agent", arguments)
	if err != nil {
		return err
	}
	ctx, cancel := config.Signals()
	defer cancel()
	config.Log("Starting k3s agent %s", config.Version())
	return agent.Run(ctx, cfg)
}
