package server

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"

	"unterbau.internal/k3s/config"
)

func (s *server) resetFlag() string { return s.cfg.ServerDir("db", "reset-flag") }

// reset makes this server's etcd a cluster of one, of its own data or of a snapshot's, and ends.
func (s *server) reset(ctx context.Context) error {
	if s.cfg.External() {
		return fmt.Errorf("invalid flag use; --cluster-reset required with embedded etcd only")
	}
	if exists(s.resetFlag()) {
		return fmt.Errorf("Managed etcd cluster membership was previously reset; please remove the cluster-reset flag and start k3s"+ //nolint
			" normally. If you need to perform another cluster reset, you must first manually delete the file at %s", s.resetFlag())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer func() { cancel(); s.awaitEnds() }()
	if err := s.readName(); err != nil {
		return err
	}
	if err := s.restore(); err != nil {
		return err
	}
	if !s.hasEtcdData() {
		return fmt.Errorf("cannot perform cluster-reset: etcd database not found in %s", s.etcdDir())
	}
	if err := s.startAlone(ctx); err != nil {
		return err
	}
	// K3s' own words: this is what tells an operator, and a program, that it worked.
	config.Log("Managed etcd cluster membership has been reset, restart without --cluster-reset flag now." +
		" Backup and delete ${datadir}/server/db on each peer etcd server and rejoin the nodes")
	return write(s.resetFlag(), "")
}

func (s *server) startAlone(ctx context.Context) error {
	if err := s.ensureEtcdCertificates(); err != nil {
		return err
	}
	if err := s.startEtcd(ctx, "new", s.etcdName+"="+s.peerURL(), true); err != nil {
		return err
	}
	if err := s.connectEtcd(); err != nil {
		return err
	}
	if err := s.awaitEtcd(ctx); err != nil {
		return err
	}
	s.passwords.server = s.givenToken()
	if err := s.loadBootstrap(ctx); err != nil {
		return err
	}
	if err := s.dropOldRecords(ctx); err != nil {
		return err
	}
	if err := s.ensureCertificates(); err != nil {
		return err
	}
	if err := s.ensurePasswords(); err != nil {
		return err
	}
	return s.writeTokens()
}

// dropOldRecords deletes what the snapshot says of the API's addresses: the other servers are not there yet.
func (s *server) dropOldRecords(ctx context.Context) error {
	for _, key := range []string{"/registry/masterleases/" + s.cfg.AdvertiseAddress} {
		if _, err := s.etcd.Delete(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// restore puts the snapshot in the place of the data, which stays beside it under another name.
func (s *server) restore() error {
	path := s.cfg.ClusterResetRestorePath
	if path == "" {
		return nil
	}
	if strings.HasSuffix(path, ".zip") {
		return fmt.Errorf("%s is compressed: unpack it first", path)
	}
	if !exists(path) {
		return fmt.Errorf("etcd: snapshot path does not exist: %s", path)
	}
	old := fmt.Sprintf("%s-old-%d", s.etcdDir(), time.Now().Unix())
	if err := os.Rename(s.etcdDir(), old); err != nil && !os.IsNotExist(err) {
		return err
	}
	config.Log("Pre-restore etcd database moved to %s", old)
	err := snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
		SnapshotPath: path, Name: s.etcdName, OutputDataDir: s.etcdDir(), OutputWALDir: s.etcdDir("member", "wal"),
		PeerURLs: []string{s.peerURL()}, InitialCluster: s.etcdName + "=" + s.peerURL(), SkipHashCheck: false,
	})
	if err != nil {
		return fmt.Errorf("failed to restore %s: %w", path, err)
	}
	return write(s.etcdDir("name"), s.etcdName)
}
