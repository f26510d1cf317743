package agent

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"unterbau.internal/k3s/config"
)

// balancerAddress is K3s' own: kubelet and kube-proxy of an agent know one server, and it is this node.
const (
	balancerAddress = "127.0.0.1:6444"
	dialLimit       = 2 * time.Second
	checkEvery      = 2 * time.Second
	checkLimit      = 3 * time.Second
)

type backend struct {
	address string
	failed  bool
	open    map[net.Conn]bool
}

// balancer passes connections on to a server that answers. What it knows is on the disk: a node that starts while the
// server of its configuration is gone still finds the others.
type balancer struct {
	file    string
	first   string
	mutex   sync.Mutex
	servers []*backend
}

// record is K3s' own form of the file.
type record struct {
	ServerURL       string
	ServerAddresses []string
}

func newBalancer(server, file string) (*balancer, error) {
	address, err := hostPort(server)
	if err != nil {
		return nil, err
	}
	b := &balancer{file: file, first: server}
	known := record{}
	if text, err := os.ReadFile(file); err == nil {
		if err := json.Unmarshal(text, &known); err != nil {
			config.Log("%s is no list of servers, it is written anew: %v", file, err)
		}
	}
	b.set(append(known.ServerAddresses, address))
	return b, nil
}

func hostPort(server string) (string, error) {
	parsed, err := url.Parse(server)
	if err != nil || parsed.Hostname() == "" {
		return "", fmt.Errorf("server %q is not https://host:port", server)
	}
	port := parsed.Port()
	if port == "" {
		port = "443"
	}
	return net.JoinHostPort(parsed.Hostname(), port), nil
}

// set makes exactly these the servers; connections to those that left are closed.
func (b *balancer) set(addresses []string) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	kept := []*backend{}
	for _, one := range b.servers {
		if slices.Contains(addresses, one.address) {
			kept = append(kept, one)
		} else {
			one.close()
		}
	}
	for _, address := range addresses {
		if !slices.ContainsFunc(kept, func(one *backend) bool { return one.address == address }) {
			kept = append(kept, &backend{address: address, open: map[net.Conn]bool{}})
		}
	}
	b.servers = kept
}

func (one *backend) close() {
	for connection := range one.open {
		connection.Close()
	}
}

func (b *balancer) listen(ctx context.Context) error {
	listener, err := net.Listen("tcp", balancerAddress)
	if err != nil {
		return err
	}
	go func() { <-ctx.Done(); listener.Close() }()
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go b.pass(connection)
		}
	}()
	return nil
}

// order is that of trying: those that answered last, then the others.
func (b *balancer) order() []*backend {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	all := slices.Clone(b.servers)
	slices.SortStableFunc(all, func(one, other *backend) int {
		if one.failed == other.failed {
			return 0
		} else if one.failed {
			return 1
		}
		return -1
	})
	return all
}

// turn puts the first one last.
func (b *balancer) turn() {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.servers = append(b.servers[1:len(b.servers):len(b.servers)], b.servers[0])
}

func (b *balancer) pass(client net.Conn) {
	defer client.Close()
	for _, one := range b.order() {
		server, err := net.DialTimeout("tcp", one.address, dialLimit)
		if err != nil {
			b.mark(one, true)
			continue
		}
		b.hold(one, server, true)
		defer b.hold(one, server, false)
		defer server.Close()
		go func() { _, _ = io.Copy(server, client); server.Close() }()
		_, _ = io.Copy(client, server)
		return
	}
}

func (b *balancer) hold(one *backend, connection net.Conn, open bool) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if open {
		one.open[connection] = true
	} else {
		delete(one.open, connection)
	}
}

// mark remembers whether a server answers; what hangs on one that stopped to is cut, and is made anew to another one.
func (b *balancer) mark(one *backend, failed bool) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if one.failed != failed {
		config.Log("server %s %s", one.address, map[bool]string{true: "does not answer", false: "answers again"}[failed])
	}
	one.failed = failed
	if failed && slices.ContainsFunc(b.servers, func(other *backend) bool { return !other.failed }) {
		one.close()
	}
}

// keepUp asks every server how it is, and any of them which there are.
func (b *balancer) keepUp(ctx context.Context, s *supervisor, own certificate) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(checkEvery):
		}
		client := b.client(s, own)
		if client == nil {
			continue
		}
		var all sync.WaitGroup
		for _, one := range b.order() {
			all.Add(1)
			go func() { defer all.Done(); b.check(ctx, client, one) }()
		}
		all.Wait()
		b.learn(ctx, client)
		client.CloseIdleConnections()
	}
}

// client shows this node's certificate: it outlives a change of the token.
func (b *balancer) client(s *supervisor, own certificate) *http.Client {
	pair, err := tls.LoadX509KeyPair(own.crt, own.key)
	if err != nil {
		return nil
	}
	client := s.client([]tls.Certificate{pair})
	client.Timeout = checkLimit
	return client
}

func (b *balancer) check(ctx context.Context, client *http.Client, one *backend) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+one.address+"/v1-k3s/readyz", nil)
	if err == nil {
		_, err = answer(client, request)
	}
	if ctx.Err() == nil {
		b.mark(one, err != nil)
	}
}

func (b *balancer) learn(ctx context.Context, client *http.Client) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+balancerAddress+"/v1-k3s/apiservers", nil)
	if err != nil {
		return
	}
	text, err := answer(client, request)
	found := []string{}
	if err != nil || json.Unmarshal(text, &found) != nil || len(found) == 0 {
		return // a list that could not be had is not an empty one
	}
	b.set(found)
	slices.Sort(found)
	wanted, err := json.Marshal(record{b.first, found})
	if there, _ := os.ReadFile(b.file); err == nil && string(there) != string(wanted) {
		config.Log("servers are %v", found)
		if err := write(b.file, wanted, 0o600); err != nil {
			config.Log("cannot remember the servers: %v", err)
		}
	}
}
