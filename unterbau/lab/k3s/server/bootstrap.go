package server

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1" // K3s' own choice of what makes the key
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"unterbau.internal/k3s/config"
	"unterbau.internal/k3s/pki"
)

// bootstrapFiles are the keys that every server of a cluster has alike, by K3s' names of them.
type bootstrapFiles map[string]bootstrapFile

type bootstrapFile struct {
	Timestamp time.Time
	Content   []byte
}

func (s *server) bootstrapPaths() map[string]string {
	paths := map[string]string{
		"ServerCA": s.tls("server-ca.crt"), "ServerCAKey": s.tls("server-ca.key"),
		"ClientCA": s.tls("client-ca.crt"), "ClientCAKey": s.tls("client-ca.key"),
		"RequestHeaderCA": s.tls("request-header-ca.crt"), "RequestHeaderCAKey": s.tls("request-header-ca.key"),
		"ETCDServerCA": s.tls("etcd", "server-ca.crt"), "ETCDServerCAKey": s.tls("etcd", "server-ca.key"),
		"ETCDPeerCA": s.tls("etcd", "peer-ca.crt"), "ETCDPeerCAKey": s.tls("etcd", "peer-ca.key"),
		"ServiceKey": s.tls("service.key"), "PasswdFile": s.passwordFile(),
		"EncryptionConfig": s.encryptionFile(), "EncryptionHash": s.encryptionStateFile(),
	}
	return paths
}

func (s *server) readBootstrap() (bootstrapFiles, error) {
	files := bootstrapFiles{}
	for name, path := range s.bootstrapPaths() {
		text, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		files[name] = bootstrapFile{time.Now().UTC(), text}
	}
	return files, nil
}

// writeBootstrap makes the disk say what the cluster says.
func (s *server) writeBootstrap(files bootstrapFiles) error {
	for name, path := range s.bootstrapPaths() {
		file, there := files[name]
		if !there {
			continue
		}
		if found, err := os.ReadFile(path); err == nil && string(found) == string(file.Content) {
			continue
		}
		mode := os.FileMode(0o600)
		if strings.HasSuffix(path, ".crt") {
			mode = 0o644
		}
		if err := pki.Write(path, file.Content, mode); err != nil {
			return err
		}
	}
	return nil
}

func bootstrapKey(secret string) string { return "/bootstrap/" + tokenHash(secret) }

// loadBootstrap reads the cluster's keys out of etcd with the token that this server was given.
func (s *server) loadBootstrap(ctx context.Context) error {
	if s.passwords.server == "" {
		s.passwords.server = s.givenToken()
	}
	secret := s.passwords.server
	found, err := s.etcd.Get(ctx, "/bootstrap/", clientv3.WithPrefix())
	if err != nil {
		return err
	}
	for _, pair := range found.Kvs {
		if string(pair.Key) != bootstrapKey(secret) {
			continue
		}
		files, err := decrypt(secret, pair.Value)
		if err != nil {
			return err
		}
		config.Log("Reconciling bootstrap data between datastore and disk")
		return s.writeBootstrap(files)
	}
	if len(found.Kvs) > 0 {
		return fmt.Errorf("bootstrap data already found and encrypted with different token")
	}
	return nil
}

// saveBootstrap makes etcd say what this disk says, if it does not already.
func (s *server) saveBootstrap(ctx context.Context, secret string) error {
	files, err := s.readBootstrap()
	if err != nil {
		return err
	}
	key := bootstrapKey(secret)
	found, err := s.etcd.Get(ctx, key)
	if err != nil {
		return err
	}
	if len(found.Kvs) == 1 {
		if kept, err := decrypt(secret, found.Kvs[0].Value); err == nil && same(kept, files) {
			return nil
		}
	}
	value, err := encrypt(secret, files)
	if err != nil {
		return err
	}
	_, err = s.etcd.Put(ctx, key, value)
	return err
}

func same(one, other bootstrapFiles) bool {
	if len(one) != len(other) {
		return false
	}
	for name, file := range one {
		if string(other[name].Content) != string(file.Content) {
			return false
		}
	}
	return true
}

// sealer is AES-GCM under what PBKDF2 makes of the token, as K3s: so a snapshot is worth nothing without it.
func sealer(secret string, salt []byte) (cipher.AEAD, error) {
	key, err := pbkdf2.Key(sha1.New, secret, salt, 4096, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func encrypt(secret string, files bootstrapFiles) (string, error) {
	text, err := json.Marshal(files)
	if err != nil {
		return "", err
	}
	salt := make([]byte, 8)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	// K3s' salt is the text of the digits, not the bytes that they stand for.
	digits := hex.EncodeToString(salt)
	gcm, err := sealer(secret, []byte(digits))
	if err != nil {
		return "", err
	}
	nonce := make([]byte, gcm.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return "", err
	}
	return digits + ":" + base64.StdEncoding.EncodeToString(gcm.Seal(nonce, nonce, text, nil)), nil
}

func decrypt(secret string, value []byte) (bootstrapFiles, error) {
	digits, rest, _ := strings.Cut(string(value), ":")
	sealed, err := base64.StdEncoding.DecodeString(rest)
	if err != nil {
		return nil, err
	}
	gcm, err := sealer(secret, []byte(digits))
	if err != nil {
		return nil, err
	}
	if len(sealed) < gcm.NonceSize() {
		return nil, fmt.Errorf("bootstrap data is cut off")
	}
	text, err := gcm.Open(nil, sealed[:gcm.NonceSize()], sealed[gcm.NonceSize():], nil)
	if err != nil {
		return nil, fmt.Errorf("bootstrap data was encrypted with a different token: %w", err)
	}
	files := bootstrapFiles{}
	return files, json.Unmarshal(text, &files)
}
