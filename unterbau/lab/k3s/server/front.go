package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"unterbau.internal/k3s/config"
	"unterbau.internal/k3s/pki"
)

// startFront listens on the API's port: the supervisor's own paths here, everything else to kube-apiserver.
// A client certificate ends here, so the front says whose it was, as an aggregator would: with a certificate of the
// request-header authority. Tokens go through as they are.
func (s *server) startFront(ctx context.Context) error {
	if err := s.connectInner(); err != nil {
		return err
	}
	proxy, err := s.proxy()
	if err != nil {
		return err
	}
	front := &http.Server{Handler: s.routes(proxy), ErrorLog: log.New(quiet{}, "", 0), ReadHeaderTimeout: 30 * time.Second}
	listener, err := net.Listen("tcp", fmt.Sprintf(":%d", config.APIPort))
	if err != nil {
		return err
	}
	go func() {
		front.TLSConfig = &tls.Config{
			MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*s.certs},
			ClientAuth: tls.RequestClientCert, ClientCAs: s.auth.client.Pool(),
		}
		if err := front.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			s.ends <- err
		}
	}()
	go func() {
		<-ctx.Done()
		front.Close()
	}()
	return nil
}

// quiet drops what net/http says of clients that hung up.
type quiet struct{}

func (quiet) Write(text []byte) (int, error) { return len(text), nil }

func (s *server) proxy() (http.Handler, error) {
	plain, err := s.transport("")
	if err != nil {
		return nil, err
	}
	vouching, err := s.transport(s.tls("client-auth-proxy"))
	if err != nil {
		return nil, err
	}
	return &httputil.ReverseProxy{
		Rewrite:       s.rewrite,
		Transport:     choice{plain, vouching},
		FlushInterval: -1, // watches
		ErrorLog:      log.New(quiet{}, "", 0),
		ErrorHandler: func(answer http.ResponseWriter, _ *http.Request, err error) {
			refuse(answer, http.StatusServiceUnavailable, "apiserver not ready: "+err.Error())
		},
	}, nil
}

// transport shows the certificate at PAIR.{crt,key}, if any. It speaks HTTP/1.1 only: an upgrade (exec, port-forward) needs it, and watches do not mind.
func (s *server) transport(pair string) (*http.Transport, error) {
	cert, key := "", ""
	if pair != "" {
		cert, key = pair+".crt", pair+".key"
	}
	said, err := pki.ClientTLS(s.tls("server-ca.crt"), cert, key)
	if err != nil {
		return nil, err
	}
	return &http.Transport{TLSClientConfig: said, MaxIdleConnsPerHost: 100, IdleConnTimeout: 90 * time.Second}, nil
}

func (s *server) rewrite(request *httputil.ProxyRequest) {
	request.SetURL(&url.URL{Scheme: "https", Host: fmt.Sprintf("127.0.0.1:%d", config.InnerPort)})
	request.SetXForwarded()
	request.Out.Host = request.In.Host
	for name := range request.Out.Header {
		if strings.HasPrefix(strings.ToLower(name), "x-remote-") {
			delete(request.Out.Header, name)
		}
	}
	if user := s.userOf(request.In); user != nil {
		request.Out.Header.Set("X-Remote-User", user.Subject.CommonName)
		for _, group := range user.Subject.Organization {
			request.Out.Header.Add("X-Remote-Group", group)
		}
	}
}

// choice shows the front's own certificate only where it vouches for somebody.
type choice struct{ plain, vouching http.RoundTripper }

func (c choice) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Header.Get("X-Remote-User") != "" {
		return c.vouching.RoundTrip(request)
	}
	return c.plain.RoundTrip(request)
}

// userOf is the client's certificate if it is one of this cluster's clients'; nil if it showed none or another.
func (s *server) userOf(request *http.Request) *x509.Certificate {
	if request.TLS == nil || len(request.TLS.PeerCertificates) == 0 {
		return nil
	}
	shown := request.TLS.PeerCertificates[0]
	_, err := shown.Verify(x509.VerifyOptions{
		Roots: s.auth.client.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil
	}
	return shown
}

func refuse(answer http.ResponseWriter, code int, text string) {
	answer.Header().Set("Content-Type", "text/plain; charset=utf-8")
	answer.WriteHeader(code)
	fmt.Fprintln(answer, text)
}
