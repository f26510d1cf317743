package command

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"unterbau.internal/k3s/pki"
)

// warnBefore is K3s': from then on a start renews.
const warnBefore = 120 * 24 * time.Hour

type found struct {
	Filename     string
	Subject      string
	Issuer       string
	Usages       []string
	ExpiryTime   time.Time
	ResidualTime time.Duration
	Status       string
	path         string
}

func certificate(i input) error {
	switch verb := i.verb(""); verb {
	case "check":
		return checkCertificates(i)
	case "rotate":
		return rotateCertificates(i)
	default:
		return fmt.Errorf("no such command in this stand-in: certificate %s", verb)
	}
}

func checkCertificates(i input) error {
	all, err := certificates(i.dataDir())
	if err != nil {
		return err
	}
	switch format := i.flag("output", "text"); format {
	case "json":
		text, err := json.Marshal(map[string]any{"Certificates": all})
		fmt.Println(string(text))
		return err
	case "table":
		table := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
		defer table.Flush()
		fmt.Fprintf(table, "\nFILENAME\tSUBJECT\tUSAGES\tEXPIRES\tRESIDUAL TIME\tSTATUS\n--------\t-------\t------\t-------\t-------------\t------\n")
		for _, one := range all {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d days\t%s\n", one.Filename, one.Subject, strings.Join(one.Usages, ","),
				one.ExpiryTime.Format("Jan 02, 2006 15:04 MST"), int(one.ResidualTime.Hours()/24), one.Status)
		}
	default:
		for _, one := range all {
			fmt.Printf("%s: certificate %s (%s) %s, expires at %s\n", one.Filename, one.Subject, strings.Join(one.Usages, ","),
				one.Status, one.ExpiryTime.Format(time.RFC3339))
		}
	}
	return nil
}

// certificates are all there are below the data, of the server's part and the agent's.
func certificates(dataDir string) ([]found, error) {
	all := []found{}
	for _, dir := range []string{filepath.Join(dataDir, "server", "tls"), filepath.Join(dataDir, "agent")} {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if os.IsNotExist(err) {
				return nil
			}
			if err != nil || !strings.HasSuffix(path, ".crt") || strings.Contains(path, "containerd") {
				return err
			}
			text, err := os.ReadFile(path)
			all = append(all, read(path, text)...)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, func(a, b found) int { return strings.Compare(a.path, b.path) })
	return all, nil
}

func read(path string, text []byte) []found {
	all := []found{}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			continue
		}
		left := time.Until(certificate.NotAfter)
		status := "OK"
		switch {
		case left < 0:
			status = "EXPIRED"
		case left < warnBefore:
			status = "WARNING"
		}
		all = append(all, found{
			filepath.Base(path), certificate.Subject.CommonName, certificate.Issuer.CommonName, usages(certificate),
			certificate.NotAfter, left, status, path,
		})
	}
	return all
}

func usages(certificate *x509.Certificate) []string {
	all := []string{}
	for _, usage := range certificate.ExtKeyUsage {
		switch usage {
		case x509.ExtKeyUsageClientAuth:
			all = append(all, "ClientAuth")
		case x509.ExtKeyUsageServerAuth:
			all = append(all, "ServerAuth")
		}
	}
	if certificate.KeyUsage&x509.KeyUsageCertSign != 0 {
		all = append(all, "CertSign")
	}
	return all
}

// rotateCertificates puts them aside; the next start makes new ones. Authorities and the key of tokens stay.
func rotateCertificates(i input) error {
	all, err := certificates(i.dataDir())
	if err != nil {
		return err
	}
	aside := filepath.Join(i.dataDir(), "server", fmt.Sprintf("tls-%d", time.Now().Unix()))
	if _, err := os.Stat(filepath.Join(i.dataDir(), "server")); os.IsNotExist(err) {
		aside = filepath.Join(i.dataDir(), "agent", filepath.Base(aside))
	}
	moved := map[string]bool{}
	for _, one := range all {
		if moved[one.path] || strings.HasSuffix(one.path, "-ca.crt") {
			continue
		}
		moved[one.path] = true
		if err := putAside(i.dataDir(), aside, one.path); err != nil {
			return err
		}
	}
	fmt.Fprintf(os.Stderr, "Successfully backed up certificates to %s, please restart k3s server or agent to rotate certificates\n", aside)
	return nil
}

func putAside(dataDir, aside, path string) error {
	for _, file := range []string{path, strings.TrimSuffix(path, ".crt") + ".key"} {
		text, err := os.ReadFile(file)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return err
		}
		below, err := filepath.Rel(dataDir, file)
		if err != nil {
			return err
		}
		if err := pki.Write(filepath.Join(aside, below), text, 0o600); err != nil {
			return err
		}
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	return nil
}
