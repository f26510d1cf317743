package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"

	"unterbau.internal/k3s/access"
)

// passwords are the two secrets that nodes join with: a server's is the cluster's, too.
type passwords struct{ server, node string }

// fullToken says which authority the server's certificate must be of, and who asks with which secret.
func fullToken(caPEM []byte, user, secret string) string {
	return fmt.Sprintf("K10%s::%s:%s", hexDigest(caPEM), user, secret)
}

// tokenHash is how K3s names what was encrypted under a token: the first twelve digits. Source: K3s, GetTokenHash.
func tokenHash(secret string) string { return hexDigest([]byte(secret))[:12] }

func hexDigest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

func encoded(text []byte) string { return base64.StdEncoding.EncodeToString(text) }

func randomText(bytes int) string {
	made := make([]byte, bytes)
	if _, err := rand.Read(made); err != nil {
		panic(err)
	}
	return hex.EncodeToString(made)
}

func (s *server) passwordFile() string { return s.cfg.ServerDir("cred", "passwd") }

// givenToken is the secret of the configuration, else of the disk; "" on a first server that was given none.
func (s *server) givenToken() string {
	if s.cfg.Token != "" {
		secret, _ := access.Split(s.cfg.Token)
		return secret
	}
	text, err := os.ReadFile(s.cfg.ServerDir("token"))
	if err != nil {
		return ""
	}
	secret, _ := access.Split(string(text))
	return secret
}

// ensurePasswords has the server's secret, and the agents' own if there is one, in the file that K3s keeps them in.
func (s *server) ensurePasswords() error {
	if s.passwords.server == "" {
		s.passwords.server = s.givenToken()
	}
	if s.passwords.server == "" {
		s.passwords.server = randomText(16)
	}
	s.passwords.node = s.passwords.server
	if s.cfg.AgentToken != "" {
		s.passwords.node, _ = access.Split(s.cfg.AgentToken)
	}
	return s.writePasswords()
}

func (s *server) writePasswords() error {
	lines := fmt.Sprintf("%s,node,node,k3s:agent\n%s,server,server,k3s:server\n", s.passwords.node, s.passwords.server)
	return write(s.passwordFile(), lines)
}

// writeTokens writes them in full, with `node-token` as the older name of the server's.
func (s *server) writeTokens() error {
	full := fullToken(s.auth.server.PEM, "server", s.passwords.server) + "\n"
	if err := write(s.cfg.ServerDir("token"), full); err != nil {
		return err
	}
	if !exists(s.cfg.ServerDir("node-token")) {
		if err := os.Symlink(s.cfg.ServerDir("token"), s.cfg.ServerDir("node-token")); err != nil {
			return err
		}
	}
	if s.cfg.AgentToken == "" {
		_ = os.Remove(s.cfg.ServerDir("agent-token"))
		return os.Symlink(s.cfg.ServerDir("token"), s.cfg.ServerDir("agent-token"))
	}
	return write(s.cfg.ServerDir("agent-token"), fullToken(s.auth.server.PEM, "node", s.passwords.node)+"\n")
}

// rotateToken has the cluster's keys in etcd under the new secret only, then every server that starts needs that one.
func (s *server) rotateToken(ctx context.Context, fresh string) error {
	s.secrets.Lock()
	defer s.secrets.Unlock()
	old := s.passwords.server
	if s.passwords.node == old {
		s.passwords.node = fresh
	}
	s.passwords.server = fresh
	if err := s.writePasswords(); err != nil {
		return err
	}
	if err := s.saveBootstrap(ctx, fresh); err != nil {
		return err
	}
	if old != fresh {
		if _, err := s.etcd.Delete(ctx, bootstrapKey(old)); err != nil {
			return err
		}
	}
	return s.writeTokens()
}
