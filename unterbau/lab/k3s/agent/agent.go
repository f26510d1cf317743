// Package agent is what runs on every node that takes pods: containerd, kubelet, kube-proxy, and the network between nodes.
//
// It keeps K3s' files and ports, so that what looks at a K3s node finds here what it expects. Source: K3s documentation,
// "Architecture" and "k3s agent"; the protocol with the server is in ../PROTOCOL.md.
package agent

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"unterbau.internal/k3s/config"
)

const pause = 2 * time.Second

type node struct {
	*config.Config
	balancer   *balancer // nil in a server
	supervisor *supervisor
	cluster    cluster
	password   string
}

// Run keeps the node going until ctx ends, or until something ends that the node cannot do without.
func Run(ctx context.Context, cfg *config.Config) error {
	n := &node{Config: cfg}
	if err := n.prepare(); err != nil {
		return err
	}
	if err := n.reach(ctx); err != nil {
		return err
	}
	n.retry(ctx, "fetch what the server has for this node", n.fetchSomewhere)
	if ctx.Err() != nil {
		return nil
	}
	if n.balancer != nil {
		go n.balancer.keepUp(ctx, n.supervisor, n.certificate("client-kubelet"))
	}
	return n.run(ctx)
}

// prepare makes folders, the node's password, and the kernel settings that K3s sets as well.
func (n *node) prepare() (err error) {
	for _, folder := range []string{n.path("etc", "cni", "net.d"), n.path("etc", "containerd"), n.path("images"), n.path("pod-manifests")} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return err
		}
	}
	forward()
	n.password, err = password()
	return err
}

// reach finds the way to the servers: the one beside us in a server, all of them through a local port in an agent.
func (n *node) reach(ctx context.Context) error {
	access, err := parse(n.Token)
	if err != nil {
		return err
	}
	if n.InServer {
		n.supervisor = &supervisor{access: access, base: n.Server}
		return nil
	}
	balancer, err := newBalancer(n.Server, n.path("etc", "k3s-agent-load-balancer.json"))
	if err != nil {
		return err
	}
	if err := balancer.listen(ctx); err != nil {
		return err
	}
	n.balancer = balancer
	n.supervisor = &supervisor{access: access, base: "https://" + balancerAddress}
	return nil
}

// fetchSomewhere has the next try go to another server: one that accepts connections and says nothing is no way in.
func (n *node) fetchSomewhere(ctx context.Context) error {
	err := n.fetch(ctx)
	if err != nil && n.balancer != nil {
		n.balancer.turn()
	}
	return err
}

// fetch gets authorities, certificates and the cluster's settings. The keys stay on this node.
func (n *node) fetch(ctx context.Context) error {
	if err := n.supervisor.trust(ctx); err != nil {
		return err
	}
	if err := n.supervisor.get(ctx, "/v1-k3s/config", &n.cluster); err != nil {
		return err
	}
	for _, name := range []string{"client-ca.crt", "server-ca.crt"} {
		text, err := n.supervisor.text(ctx, "/v1-k3s/"+name)
		if err != nil {
			return err
		}
		if err := write(n.path(name), text, 0o644); err != nil {
			return err
		}
	}
	headers := http.Header{"K3s-Node-Name": {n.NodeName}, "K3s-Node-Password": {n.password}, "K3s-Node-Ip": {n.NodeIP}}
	for _, name := range []string{"client-kubelet", "serving-kubelet", "client-kube-proxy", "client-k3s-controller"} {
		if err := n.supervisor.certify(ctx, n.certificate(name), headers); err != nil {
			return err
		}
	}
	return n.kubeconfigs()
}

// run starts the parts in the order in which they need each other; the first that ends by itself ends all.
func (n *node) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	ends, parts := make(chan error, 4), sync.WaitGroup{}
	defer parts.Wait() // a part that outlives this process would be in the way of the next one
	defer stop()
	start := func(process *config.Process, err error) bool {
		if err != nil {
			ends <- err
			return false
		}
		parts.Add(1)
		go func() { defer parts.Done(); <-process.Done; ends <- process.End() }()
		return true
	}
	up := (n.ContainerRuntimeEndpoint != "" || start(n.startContainerd(ctx))) &&
		start(n.startKubelet(ctx)) && start(n.startProxy(ctx))
	if up {
		go n.keepNetwork(ctx)
		go n.announce(ctx)
	}
	select {
	case err := <-ends:
		return err
	case <-ctx.Done():
		return nil
	}
}

// announce tells systemd once the kubelet works; in a server that is the server's to say.
func (n *node) announce(ctx context.Context) {
	n.retry(ctx, "see the kubelet work", func(ctx context.Context) error { return answers(ctx, "http://127.0.0.1:10248/healthz") })
	if ctx.Err() != nil {
		return
	}
	config.Log("the kubelet of %s runs", n.NodeName)
	if !n.InServer {
		config.Notify("READY=1")
	}
}

func answers(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s says %s", url, answer.Status)
	}
	return nil
}

// retry tries until it works or ctx ends, and says a reason once as long as it stays the same.
func (n *node) retry(ctx context.Context, what string, try func(context.Context) error) {
	said := ""
	for {
		err := try(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		if err.Error() != said {
			said = err.Error()
			config.Log("cannot %s yet: %s", what, said)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}
