// Package pki makes authorities, certificates and keys as files, and keeps those that are still good.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	caLife = 10 * 365 * 24 * time.Hour
	life   = 365 * 24 * time.Hour
	// renewBefore is K3s': a certificate that ends sooner is made anew at the next start.
	renewBefore = 120 * 24 * time.Hour
)

// Authority signs; its files are FILE.crt and FILE.key.
type Authority struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
	PEM         []byte
}

// Wanted is what a certificate says.
type Wanted struct {
	Name          string
	Organizations []string
	Hosts         []string // names and addresses; with any, it serves
	Client        bool
}

// EnsureAuthority makes the authority once: one that is there is never replaced.
func EnsureAuthority(path, name string) (*Authority, error) {
	if _, err := os.Stat(path + ".crt"); err == nil {
		return LoadAuthority(path)
	}
	key, err := EnsureKey(path + ".key")
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	said := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: fmt.Sprintf("%s@%d", name, now.Unix())},
		NotBefore: now, NotAfter: now.Add(caLife), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
	der, err := x509.CreateCertificate(rand.Reader, said, said, key.Public(), key)
	if err != nil {
		return nil, err
	}
	if err := Write(path+".crt", block("CERTIFICATE", der), 0o644); err != nil {
		return nil, err
	}
	return LoadAuthority(path)
}

// LoadAuthority reads it.
func LoadAuthority(path string) (*Authority, error) {
	text, err := os.ReadFile(path + ".crt")
	if err != nil {
		return nil, err
	}
	certificate, err := first(text)
	if err != nil {
		return nil, fmt.Errorf("%s.crt: %w", path, err)
	}
	key, err := readKey(path + ".key")
	if err != nil {
		return nil, err
	}
	return &Authority{certificate, key, text}, nil
}

// Ensure has FILE.crt and FILE.key of this authority, saying that, and good for a while.
func (a *Authority) Ensure(path string, wanted Wanted) error {
	key, err := EnsureKey(path + ".key")
	if err != nil {
		return err
	}
	if a.good(path, key, wanted) {
		return nil
	}
	made, err := a.Sign(key.Public(), wanted)
	if err != nil {
		return err
	}
	return Write(path+".crt", made, 0o644)
}

func (a *Authority) good(path string, key crypto.Signer, wanted Wanted) bool {
	text, err := os.ReadFile(path + ".crt")
	if err != nil {
		return false
	}
	found, err := first(text)
	if err != nil || found.CheckSignatureFrom(a.Certificate) != nil || time.Until(found.NotAfter) < renewBefore {
		return false
	}
	if public, is := found.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !is || !public.Equal(key.Public()) {
		return false
	}
	names := slices.Clone(found.DNSNames)
	for _, address := range found.IPAddresses {
		names = append(names, address.String())
	}
	for _, host := range wanted.Hosts {
		if !slices.Contains(names, host) {
			return false
		}
	}
	return found.Subject.CommonName == wanted.Name
}

// Sign is the certificate for this key, and the authority's own after it, as PEM.
func (a *Authority) Sign(public crypto.PublicKey, wanted Wanted) ([]byte, error) {
	now := time.Now().UTC()
	said := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: wanted.Name, Organization: wanted.Organizations},
		NotBefore: a.Certificate.NotBefore, NotAfter: now.Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
	if len(wanted.Hosts) > 0 {
		said.ExtKeyUsage = append(said.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	if wanted.Client || len(wanted.Hosts) == 0 {
		said.ExtKeyUsage = append(said.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	for _, host := range wanted.Hosts {
		if address := net.ParseIP(host); address != nil {
			said.IPAddresses = append(said.IPAddresses, address)
		} else {
			said.DNSNames = append(said.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, said, a.Certificate, public, a.Key)
	if err != nil {
		return nil, err
	}
	return append(block("CERTIFICATE", der), a.PEM...), nil
}

// Pool trusts this authority.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.Certificate)
	return pool
}

// ClientTLS trusts the authority in the file and shows the certificate, if there is one.
func ClientTLS(caFile, certFile, keyFile string) (*tls.Config, error) {
	text, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no certificate", caFile)
	}
	said := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	if certFile != "" {
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return nil, err
		}
		said.Certificates = []tls.Certificate{pair}
	}
	return said, nil
}

// EnsureKey is the key in the file, made if there is none.
func EnsureKey(path string) (crypto.Signer, error) {
	if _, err := os.Stat(path); err == nil {
		return readKey(path)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return key, writeKey(path, key)
}

// EnsureRSAKey is for service accounts' tokens: what reads them wants RSA.
func EnsureRSAKey(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	return Write(path, block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)), 0o600)
}

// Request is what a certificate request asks for, as PEM or DER.
func Request(text []byte) (*x509.CertificateRequest, error) {
	if found, _ := pem.Decode(text); found != nil {
		text = found.Bytes
	}
	request, err := x509.ParseCertificateRequest(text)
	if err != nil {
		return nil, err
	}
	return request, request.CheckSignature()
}

// Write replaces a file at once, with the folders above it.
func Write(path string, text []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", text, mode); err != nil {
		return err
	}
	if err := os.Chmod(path+".new", mode); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return Write(path, block("EC PRIVATE KEY", der), 0o600)
}

func readKey(path string) (crypto.Signer, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	found, _ := pem.Decode(text)
	if found == nil {
		return nil, fmt.Errorf("%s has no key", path)
	}
	if key, err := x509.ParseECPrivateKey(found.Bytes); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(found.Bytes); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(found.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key.(crypto.Signer), nil
}

func first(text []byte) (*x509.Certificate, error) {
	found, _ := pem.Decode(text)
	if found == nil {
		return nil, fmt.Errorf("no certificate in it")
	}
	return x509.ParseCertificate(found.Bytes)
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func serial() *big.Int {
	number, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 63))
	if err != nil {
		panic(err)
	}
	return number.Add(number, big.NewInt(1))
}
