package main

import (
	"net"

	"github.com/spf13/cobra"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/rest"
	logsapi "k8s.io/component-base/logs/api/v1"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"

	"unterbau.internal/k3s/config"
)

// newAPIServer is kube-apiserver as it is, but for one thing that it has no flag for: the port that the Service
// `kubernetes` leads to is the one in front of it, not the one that it listens on.
func newAPIServer() *cobra.Command {
	said := options.NewServerRunOptions()
	command := &cobra.Command{Use: "kube-apiserver", SilenceUsage: true, RunE: func(*cobra.Command, []string) error {
		return runAPIServer(said)
	}}
	for _, flags := range said.Flags().FlagSets {
		command.Flags().AddFlagSet(flags)
	}
	return command
}

func runAPIServer(said *options.ServerRunOptions) error {
	registry := said.GenericServerRunOptions.ComponentGlobalsRegistry
	if err := registry.Set(); err != nil {
		return err
	}
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	if err := logsapi.ValidateAndApply(said.Logs, nil); err != nil {
		return err
	}
	ctx := genericapiserver.SetupSignalContext()
	completed, err := said.Complete(ctx)
	if err != nil {
		return err
	}
	if wrong := completed.Validate(); len(wrong) != 0 {
		return utilerrors.NewAggregate(wrong)
	}
	if told, is := registry.(interface{ AddMetrics() }); is { // since Kubernetes 1.34
		told.AddMetrics()
	}
	built, err := apiserver.NewConfig(completed)
	if err != nil {
		return err
	}
	serving := built.KubeAPIs.ControlPlane.Generic.SecureServing
	serving.Listener = fronted{serving.Listener}
	whole, err := built.Complete()
	if err != nil {
		return err
	}
	chain, err := apiserver.CreateServerChain(whole)
	if err != nil {
		return err
	}
	prepared, err := chain.PrepareRun()
	if err != nil {
		return err
	}
	return prepared.Run(ctx)
}

// fronted says of itself that it is the port in front.
type fronted struct{ net.Listener }

func (f fronted) Addr() net.Addr {
	own, is := f.Listener.Addr().(*net.TCPAddr)
	if !is {
		return f.Listener.Addr()
	}
	return &net.TCPAddr{IP: own.IP, Port: config.APIPort}
}
