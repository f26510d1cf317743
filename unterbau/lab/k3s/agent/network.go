package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"unterbau.internal/k3s/config"
)

const (
	resyncEvery = time.Minute
	vxlanMTU    = 1450
)

// peer is a node as the network sees it: the addresses of its pods, and its own.
type peer struct{ name, address, pods string }

// keepNetwork gives pods a network on this node and ways to those of the others, as flannel does: with vxlan a tunnel
// device, with host-gw plain routes. wireguard-native is not there: it is served as vxlan, and said so.
func (n *node) keepNetwork(ctx context.Context) {
	if n.cluster.FlannelBackend == "none" {
		return
	}
	if n.cluster.FlannelBackend == "wireguard-native" {
		config.Log("wireguard-native is not in this stand-in: pods of two nodes talk through vxlan, in the clear")
	}
	changed := make(chan struct{}, 1)
	nodes, err := n.watch(ctx, changed)
	if err != nil {
		config.Log("cannot watch nodes: %v", err)
		return
	}
	for {
		n.retry(ctx, "set up the network of pods", func(context.Context) error { return n.connect(nodes) })
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-time.After(resyncEvery):
		}
	}
}

// watch keeps a list of nodes. It asks as kube-proxy, which may see them all: a kubelet sees its own only.
func (n *node) watch(ctx context.Context, changed chan struct{}) (listers.NodeLister, error) {
	settings, err := clientcmd.BuildConfigFromFlags("", n.path("kubeproxy.kubeconfig"))
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(settings)
	if err != nil {
		return nil, err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	tell := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	_, err = factory.Core().V1().Nodes().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { tell() },
		DeleteFunc: func(any) { tell() },
		UpdateFunc: func(before, after any) {
			if seen(before.(*core.Node)) != seen(after.(*core.Node)) {
				tell()
			}
		},
	})
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	return factory.Core().V1().Nodes().Lister(), err
}

func seen(node *core.Node) peer {
	found := peer{name: node.Name, pods: node.Spec.PodCIDR}
	for _, one := range node.Status.Addresses {
		if one.Type == core.NodeInternalIP {
			found.address = one.Address
			break
		}
	}
	return found
}

// connect makes the node's network what the list of nodes says. Without a range of its own the node waits: it is NotReady.
func (n *node) connect(nodes listers.NodeLister) error {
	all, err := nodes.List(labels.Everything())
	if err != nil {
		return err
	}
	others, own := []peer{}, peer{name: n.NodeName, address: n.NodeIP}
	for _, node := range all {
		if one := seen(node); one.name == n.NodeName {
			own.pods = one.pods
		} else if one.pods != "" && one.address != "" {
			others = append(others, one)
		}
	}
	if own.pods == "" {
		return fmt.Errorf("node %s has no range of pod addresses", n.NodeName)
	}
	if n.cluster.FlannelBackend == "host-gw" {
		err = routeDirectly(others)
	} else {
		err = routeByTunnel(own, others)
	}
	if err != nil {
		return err
	}
	if err := n.masquerade(); err != nil {
		return err
	}
	return n.writePlugins(own.pods)
}

// writePlugins tells containerd how a pod gets its interface. Written last: with this file the node becomes Ready.
func (n *node) writePlugins(pods string) error {
	bridge := map[string]any{
		"type": "bridge", "bridge": "cni0", "isDefaultGateway": true, "forceAddress": true, "hairpinMode": true, "ipMasq": false,
		"ipam": map[string]any{"type": "host-local", "ranges": [][]map[string]string{{{"subnet": pods}}}},
	}
	if n.cluster.FlannelBackend != "host-gw" {
		bridge["mtu"] = vxlanMTU
	}
	text, err := json.MarshalIndent(map[string]any{
		"cniVersion": "1.0.0", "name": "cbr0",
		"plugins": []any{bridge, map[string]any{"type": "portmap", "capabilities": map[string]bool{"portMappings": true}}},
	}, "", "  ")
	if err != nil {
		return err
	}
	file := n.path("etc", "cni", "net.d", "10-flannel.conflist")
	if there, _ := os.ReadFile(file); string(there) == string(text) {
		return nil
	}
	config.Log("pods of %s get addresses of %s", n.NodeName, pods)
	return write(file, text, 0o600)
}

// masquerade hides pods behind the node where they talk to others than pods, and lets what they say pass. The chains have
// flannel's names.
func (n *node) masquerade() error {
	pods := n.cluster.ClusterIPRange
	for _, chain := range [][]string{{"nat", "POSTROUTING", "FLANNEL-POSTRTG"}, {"filter", "FORWARD", "FLANNEL-FWD"}} {
		_ = iptables(chain[0], "-N", chain[2]) // there already, mostly
		if err := ensureRule(chain[0], chain[1], "-j", chain[2]); err != nil {
			return err
		}
	}
	for _, rule := range [][]string{
		{"nat", "FLANNEL-POSTRTG", "-s", pods, "-d", pods, "-j", "RETURN"},
		{"nat", "FLANNEL-POSTRTG", "-s", pods, "!", "-d", "224.0.0.0/4", "-j", "MASQUERADE", "--random-fully"},
		{"filter", "FLANNEL-FWD", "-s", pods, "-j", "ACCEPT"},
		{"filter", "FLANNEL-FWD", "-d", pods, "-j", "ACCEPT"},
	} {
		if err := ensureRule(rule[0], rule[1], rule[2:]...); err != nil {
			return err
		}
	}
	return nil
}

func ensureRule(table, chain string, rule ...string) error {
	if iptables(table, append([]string{"-C", chain}, rule...)...) == nil {
		return nil
	}
	return iptables(table, append([]string{"-A", chain}, rule...)...)
}

func iptables(table string, arguments ...string) error {
	said, err := exec.Command("iptables", append([]string{"-w", "-t", table}, arguments...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("iptables -t %s %v: %w: %s", table, arguments, err, said)
	}
	return nil
}
