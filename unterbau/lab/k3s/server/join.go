package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"

	"unterbau.internal/k3s/access"
	"unterbau.internal/k3s/config"
)

// info is what `/db/info` says of the cluster that is joined.
type info struct {
	Members []*etcdserverpb.Member `json:"members"`
}

// fetchBootstrap gets the cluster's keys from the server that is named, after comparing what must be alike.
func (s *server) fetchBootstrap(ctx context.Context) error {
	var client *access.Client
	err := retry(ctx, "the server "+s.cfg.Server, func() (err error) {
		client, err = access.Dial(s.cfg.Server, "server", s.cfg.Token)
		return err
	})
	if err != nil {
		return err
	}
	if err := s.compare(client); err != nil {
		return err
	}
	files := bootstrapFiles{}
	if err := client.JSON("GET", "/v1-k3s/server-bootstrap", nil, &files); err != nil {
		return fmt.Errorf("failed to get the bootstrap data from %s: %w", s.cfg.Server, err)
	}
	s.passwords.server, _ = access.Split(s.cfg.Token)
	return s.writeBootstrap(files)
}

func (s *server) compare(client *access.Client) error {
	text, err := client.Ask("GET", "/v1-k3s/config", nil, nil)
	if err != nil {
		return fmt.Errorf("failed to get the configuration of %s: %w", s.cfg.Server, err)
	}
	theirs := struct{ Critical map[string]string }{}
	if err := json.Unmarshal(text, &theirs); err != nil {
		return err
	}
	differing := []string{}
	for key, value := range s.cfg.Critical() {
		if theirs.Critical[key] != value {
			differing = append(differing, fmt.Sprintf("%s (here %q, there %q)", key, value, theirs.Critical[key]))
		}
	}
	if len(differing) == 0 {
		return nil
	}
	slices.Sort(differing)
	return fmt.Errorf("critical configuration value mismatch between servers: %s", strings.Join(differing, ", "))
}

// addMyself makes this node a learner of the cluster; the answer is etcd's list of who is in it.
func (s *server) addMyself(ctx context.Context) (cluster string, err error) {
	client, err := access.Dial(s.cfg.Server, "server", s.cfg.Token)
	if err != nil {
		return "", err
	}
	err = retry(ctx, "joining etcd", func() error {
		var permanent *duplicate
		cluster, err = s.tryAdd(ctx, client)
		if errors.As(err, &permanent) {
			fatal(err)
		}
		return err
	})
	return cluster, err
}

type duplicate struct{ name string }

func (d *duplicate) Error() string {
	return fmt.Sprintf("duplicate node name found, please use a unique name for this node: etcd has member %s;"+
		" delete its Node first", d.name)
}

func (s *server) tryAdd(ctx context.Context, client *access.Client) (string, error) {
	found := info{}
	if err := client.JSON("GET", "/db/info", nil, &found); err != nil {
		return "", err
	}
	endpoints := []string{}
	for _, member := range found.Members {
		if !member.IsLearner {
			endpoints = append(endpoints, member.ClientURLs...)
		}
	}
	etcd, err := s.etcdClient(endpoints)
	if err != nil {
		return "", err
	}
	defer etcd.Close()
	bounded, cancel := context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	members, err := etcd.MemberList(bounded)
	if err != nil {
		return "", err
	}
	cluster, known, err := s.clusterOf(members.Members)
	if err != nil || known {
		return cluster, err
	}
	if _, err := etcd.MemberAddAsLearner(bounded, []string{s.peerURL()}); err != nil {
		return "", err
	}
	config.Log("Adding member %s=%s to etcd cluster", s.etcdName, s.peerURL())
	return cluster + "," + s.etcdName + "=" + s.peerURL(), nil
}

// clusterOf is etcd's `initial-cluster` of these members, and whether this node is among them already.
func (s *server) clusterOf(members []*etcdserverpb.Member) (cluster string, known bool, err error) {
	all := []string{}
	for _, member := range members {
		if len(member.PeerURLs) == 0 {
			continue
		}
		name, mine := member.Name, hostOf(member.PeerURLs[0]) == s.cfg.NodeIP
		if name == "" && mine { // added before, never started: it is this one
			name = s.etcdName
		}
		switch {
		case name == s.etcdName && mine:
			known = true
		case nodeOf(name) == s.cfg.NodeName:
			return "", false, &duplicate{name}
		}
		all = append(all, name+"="+member.PeerURLs[0])
	}
	return strings.Join(all, ","), known, nil
}

func hostOf(text string) string {
	parsed, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return parsed.Hostname()
}

// nodeOf is the node of a member: its name without the digits behind it.
func nodeOf(member string) string {
	if at := strings.LastIndexByte(member, '-'); at > 0 {
		return member[:at]
	}
	return member
}

// keepMembers promotes learners that are in step and removes members whose nodes are to go: the leader does it.
func (s *server) keepMembers(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(waitInterval * 4):
		}
		bounded, cancel := context.WithTimeout(ctx, etcdTimeout)
		status, err := s.etcd.Status(bounded, "https://127.0.0.1:2379")
		if err == nil && status.Leader == status.Header.MemberId {
			s.promote(bounded)
			s.removeMembers(bounded)
		}
		cancel()
	}
}

// promote asks for it every time: etcd itself refuses while the learner is behind.
func (s *server) promote(ctx context.Context) {
	members, err := s.etcd.MemberList(ctx)
	if err != nil {
		return
	}
	for _, member := range members.Members {
		if member.IsLearner && member.Name != "" {
			if _, err := s.etcd.MemberPromote(ctx, member.ID); err == nil {
				config.Log("Promoted learner %s", member.Name)
			}
		}
	}
}
