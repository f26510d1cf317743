// Package server is `k3s server`: the supervisor, etcd and the control plane in front of and below it.
package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"unterbau.internal/k3s/agent"
	"unterbau.internal/k3s/config"
	"unterbau.internal/k3s/pki"
)

const waitInterval = 500 * time.Millisecond

// server is one running server.
type server struct {
	cfg       *config.Config
	auth      authorities
	passwords passwords
	secrets   sync.RWMutex // over passwords
	etcdName  string
	etcd      *clientv3.Client
	inner     *http.Client // to kube-apiserver, as the supervisor
	clients   *kubernetes.Clientset
	objects   dynamic.Interface
	ends      chan error
	snapshots sync.Mutex
	rotating  sync.Mutex
	certs     *tls.Certificate
	parts     sync.WaitGroup // all but etcd
	etcdPart  sync.WaitGroup
	stopEtcd  func()
}

// Run is `k3s server`.
func Run(arguments []string) error {
	cfg, err := config.Load("server", arguments)
	if err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	s := &server{cfg: cfg, ends: make(chan error, 16), stopEtcd: func() {}}
	config.Log("Starting k3s %s", config.Version())
	if err := s.prepare(ctx); err != nil {
		return err
	}
	if cfg.ClusterReset {
		return s.reset(ctx)
	}
	if err := s.start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	select {
	case <-ctx.Done():
	case err = <-s.ends:
	}
	cancel()
	s.awaitEnds()
	return err
}

// awaitEnds lets the parts end in their own time, which their stopping bounds; etcd last, as the others write to it.
func (s *server) awaitEnds() {
	s.parts.Wait()
	s.stopEtcd()
	s.etcdPart.Wait()
}

// child starts a part whose end is the end of all.
func (s *server) child(ctx context.Context, among *sync.WaitGroup, name string, args []string) error {
	process, err := config.Child(ctx, name, args, nil)
	if err != nil {
		return err
	}
	among.Add(1)
	go func() {
		<-process.Done
		among.Done()
		if ctx.Err() == nil {
			s.ends <- s.explain(process)
		}
	}()
	return nil
}

// prepare has what is needed before anything runs: keys of one's own, or those of the cluster that is joined.
func (s *server) prepare(ctx context.Context) error {
	if err := os.MkdirAll(s.cfg.ServerDir("db"), 0o700); err != nil {
		return err
	}
	if err := s.rotateIfAsked(); err != nil {
		return err
	}
	if s.joins() {
		if err := s.fetchBootstrap(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) start(ctx context.Context) error {
	if err := s.startDatastore(ctx); err != nil {
		return err
	}
	if err := s.startFront(ctx); err != nil {
		return err
	}
	if err := s.startControlPlane(ctx); err != nil {
		return err
	}
	if err := s.awaitAPI(ctx); err != nil {
		return err
	}
	if err := s.writeKubeconfigs(); err != nil {
		return err
	}
	s.startLoops(ctx)
	config.Log("k3s is up and running")
	config.Notify("READY=1")
	return nil
}

// startDatastore has etcd answer, the keys of the cluster on the disk, and the same in etcd.
func (s *server) startDatastore(ctx context.Context) error {
	if err := s.readName(); err != nil {
		return err
	}
	if err := s.ensureEtcdCertificates(); err != nil {
		return err
	}
	if !s.cfg.External() {
		if err := s.runEtcd(ctx); err != nil {
			return err
		}
	}
	if err := s.connectEtcd(); err != nil {
		return err
	}
	if err := s.awaitEtcd(ctx); err != nil {
		return err
	}
	if err := s.loadBootstrap(ctx); err != nil {
		return err
	}
	if err := s.ensureCertificates(); err != nil {
		return err
	}
	if err := s.ensurePasswords(); err != nil {
		return err
	}
	if err := s.ensureEncryption(); err != nil {
		return err
	}
	if err := s.writeTokens(); err != nil {
		return err
	}
	_ = os.Remove(s.resetFlag())
	return s.saveBootstrap(ctx, s.passwords.server)
}

// startLoops are what a server does beside its parts.
func (s *server) startLoops(ctx context.Context) {
	go s.keepNode(ctx)
	if !s.cfg.External() {
		go s.keepMembers(ctx)
		go s.keepSnapshots(ctx)
	}
	if s.cfg.DisableAgent {
		return
	}
	own := *s.cfg
	own.InServer, own.Server = true, fmt.Sprintf("https://127.0.0.1:%d", config.APIPort)
	own.Token = fullToken(s.auth.server.PEM, "node", s.passwords.node)
	s.parts.Add(1)
	go func() {
		defer s.parts.Done()
		if err := agent.Run(ctx, &own); err != nil && ctx.Err() == nil {
			s.ends <- fmt.Errorf("the agent ended: %w", err)
		}
	}()
}

// retry calls it until it works or ctx ends; it tells what stands in the way once per reason.
func retry(ctx context.Context, what string, call func() error) error {
	said := ""
	for {
		err := call()
		if err == nil {
			return nil
		}
		if err.Error() != said {
			said = err.Error()
			config.Log("waiting: %s: %s", what, said)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, ctx.Err())
		case <-time.After(waitInterval):
		}
	}
}

func exists(path ...string) bool {
	_, err := os.Stat(filepath.Join(path...))
	return err == nil
}

func write(path, text string) error { return pki.Write(path, []byte(text), 0o600) }
