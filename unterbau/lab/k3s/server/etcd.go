package server

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"unterbau.internal/k3s/config"
	"unterbau.internal/k3s/pki"
)

const etcdTimeout = 10 * time.Second

func (s *server) etcdDir(more ...string) string {
	return s.cfg.ServerDir(append([]string{"db", "etcd"}, more...)...)
}

func (s *server) hasEtcdData() bool { return exists(s.etcdDir("member", "wal")) }

func (s *server) joins() bool {
	return s.cfg.Server != "" && !s.cfg.External() && !s.cfg.ClusterReset && !s.hasEtcdData()
}

// readName is the member's name: the node's with eight digits behind it, kept beside the data.
func (s *server) readName() error {
	if s.cfg.External() {
		return nil
	}
	text, err := os.ReadFile(s.etcdDir("name"))
	if err == nil {
		s.etcdName = strings.TrimSpace(string(text))
		return nil
	}
	s.etcdName = s.cfg.NodeName + "-" + randomText(4)
	if err := os.MkdirAll(s.etcdDir(), 0o700); err != nil {
		return err
	}
	return write(s.etcdDir("name"), s.etcdName)
}

func (s *server) peerURL() string { return fmt.Sprintf("https://%s:2380", s.cfg.NodeIP) }

// runEtcd starts it on its data, as the first of a new cluster, or as a learner of the one that is joined.
func (s *server) runEtcd(ctx context.Context) error {
	state, cluster := "new", s.etcdName+"="+s.peerURL()
	switch {
	case s.hasEtcdData():
	case s.joins():
		members, err := s.addMyself(ctx)
		if err != nil {
			return err
		}
		state, cluster = "existing", members
	case !s.cfg.ClusterInit && !s.cfg.ClusterReset:
		return fmt.Errorf("neither cluster-init nor server nor datastore-endpoint: there is no SQLite in this stand-in for K3s")
	}
	return s.startEtcd(ctx, state, cluster, false)
}

func (s *server) startEtcd(ctx context.Context, state, cluster string, alone bool) error {
	if err := write(s.etcdDir("config"), s.etcdConfig(state, cluster, alone)); err != nil {
		return err
	}
	ctx, s.stopEtcd = context.WithCancel(context.WithoutCancel(ctx))
	return s.child(ctx, &s.etcdPart, "etcd", []string{"--config-file=" + s.etcdDir("config")})
}

// etcdConfig has K3s' timings, listeners and certificates; what `etcd-arg` says comes last and wins.
func (s *server) etcdConfig(state, cluster string, alone bool) string {
	ip, metrics := s.cfg.NodeIP, "http://127.0.0.1:2381"
	if s.cfg.EtcdExposeMetrics {
		metrics += fmt.Sprintf(",http://%s:2381", ip)
	}
	keys := [][2]string{
		{"name", s.etcdName}, {"data-dir", s.etcdDir()},
		{"listen-client-urls", fmt.Sprintf("https://127.0.0.1:2379,https://%s:2379", ip)},
		{"listen-client-http-urls", "https://127.0.0.1:2382"}, {"listen-metrics-urls", metrics},
		{"listen-peer-urls", fmt.Sprintf("https://127.0.0.1:2380,https://%s:2380", ip)},
		{"advertise-client-urls", fmt.Sprintf("https://%s:2379", ip)},
		{"initial-advertise-peer-urls", s.peerURL()},
		{"initial-cluster", cluster}, {"initial-cluster-state", state}, {"force-new-cluster", fmt.Sprint(alone)},
		{"heartbeat-interval", "500"}, {"election-timeout", "5000"}, {"snapshot-count", "10000"},
		{"logger", "zap"}, {"log-outputs", "[stderr]"}, {"log-level", "warn"},
	}
	index := map[string]int{}
	for i, key := range keys {
		index[key[0]] = i
	}
	for _, argument := range s.cfg.EtcdArgs {
		name, value, _ := strings.Cut(strings.TrimLeft(argument, "-"), "=")
		if at, known := index[name]; known {
			keys[at][1] = value
		} else {
			keys = append(keys, [2]string{name, value})
		}
	}
	text := strings.Builder{}
	for _, key := range keys {
		fmt.Fprintf(&text, "%s: %s\n", key[0], key[1])
	}
	text.WriteString(s.etcdSecurity("client", "server-client", "server-ca"))
	text.WriteString(s.etcdSecurity("peer", "peer-server-client", "peer-ca"))
	return text.String()
}

func (s *server) etcdSecurity(kind, pair, ca string) string {
	return fmt.Sprintf("%s-transport-security:\n  cert-file: %s\n  key-file: %s\n  client-cert-auth: true\n  trusted-ca-file: %s\n",
		kind, s.tls("etcd", pair+".crt"), s.tls("etcd", pair+".key"), s.tls("etcd", ca+".crt"))
}

// etcdFiles are the authority and the pair that etcd is asked with, ours or those of the external one.
func (s *server) etcdFiles() (ca, cert, key string) {
	if s.cfg.External() {
		return s.cfg.Datastore.CAFile, s.cfg.Datastore.CertFile, s.cfg.Datastore.KeyFile
	}
	return s.tls("etcd", "server-ca.crt"), s.tls("etcd", "client.crt"), s.tls("etcd", "client.key")
}

func (s *server) etcdEndpoints() []string {
	if s.cfg.External() {
		return strings.Split(s.cfg.Datastore.Endpoint, ",")
	}
	return []string{"https://127.0.0.1:2379"}
}

func (s *server) connectEtcd() (err error) {
	s.etcd, err = s.etcdClient(s.etcdEndpoints())
	return err
}

func (s *server) etcdClient(endpoints []string) (*clientv3.Client, error) {
	said, err := s.etcdSettings(endpoints)
	if err != nil {
		return nil, err
	}
	return clientv3.New(said)
}

func (s *server) etcdSettings(endpoints []string) (said clientv3.Config, err error) {
	said = clientv3.Config{
		Endpoints: endpoints, DialTimeout: etcdTimeout, DialKeepAliveTime: 30 * time.Second, DialKeepAliveTimeout: 10 * time.Second,
		Logger: zap.NewNop(),
	}
	if ca, cert, key := s.etcdFiles(); ca != "" {
		said.TLS, err = pki.ClientTLS(ca, cert, key)
	}
	return said, err
}

// awaitEtcd waits for a read that a quorum confirms: a learner, or a member without the others, gives none.
func (s *server) awaitEtcd(ctx context.Context) error {
	return retry(ctx, "etcd", func() error {
		select {
		case err := <-s.ends:
			s.ends <- err
			fatal(err)
		default:
		}
		bounded, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		_, err := s.etcd.Get(bounded, "/bootstrap/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
		return err
	})
}

// fatal ends the program: what it stands on is gone while it starts.
func fatal(err error) {
	config.Log("fatal: %v", err)
	os.Exit(1)
}

// explain says in K3s' sense what the end of a part means.
func (s *server) explain(process *config.Process) error {
	if process.Removed {
		return fmt.Errorf("this server has been removed from the cluster: its etcd member is gone for good;"+
			" remove %s before it joins again", s.cfg.ServerDir("db"))
	}
	return process.End()
}
