package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
)

// checkRedis makes the TLS configuration and finds what does not fit together.
func (d *draft) checkRedis(read func(string) ([]byte, error)) {
	r := &d.settings.Redis
	for _, s := range []struct{ name, text string }{
		{"REDIS_SENTINEL_USERNAME", r.SentinelUsername}, {"REDIS_SENTINEL_PASSWORD", r.SentinelPassword},
	} {
		if s.text != "" && r.Master == "" {
			d.fault(s.name, "is for sentinels, but REDIS_MASTER is unset")
		}
	}
	if len(r.Addrs) > 1 && r.Master == "" && r.DB != 0 {
		d.warnings = append(d.warnings, fmt.Sprintf(
			"REDIS_DB: several addresses are a cluster, and a cluster has database 0 only; %d does not count. To keep deployments apart there is REDIS_PREFIX", r.DB))
		r.DB = 0
	}
	if !r.TLS {
		for _, file := range []struct{ name, path string }{
			{"REDIS_CA_FILE", r.CAFile}, {"REDIS_CERT_FILE", r.CertFile}, {"REDIS_KEY_FILE", r.KeyFile},
		} {
			if file.path != "" {
				d.fault(file.name, "is for TLS, but REDIS_ADDR has no rediss:// before it")
			}
		}
		return
	}
	r.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	d.readRedisCA(read)
	d.readRedisCertificate(read)
}

func (d *draft) readRedisCA(read func(string) ([]byte, error)) {
	r := &d.settings.Redis
	if r.CAFile == "" {
		return
	}
	text, err := readFile("REDIS_CA_FILE", r.CAFile, read)
	if err != nil {
		d.faults = append(d.faults, err.Error())
		return
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		d.fault("REDIS_CA_FILE", fmt.Sprintf("there is no certificate in %q", r.CAFile))
	}
	r.TLSConfig.RootCAs = pool
}

func (d *draft) readRedisCertificate(read func(string) ([]byte, error)) {
	r := &d.settings.Redis
	switch {
	case r.CertFile == "" && r.KeyFile == "":
		return
	case r.CertFile == "":
		d.fault("REDIS_KEY_FILE", "is set and REDIS_CERT_FILE is not; Redis is shown both or none")
		return
	case r.KeyFile == "":
		d.fault("REDIS_CERT_FILE", "is set and REDIS_KEY_FILE is not; Redis is shown both or none")
		return
	}
	pair := keyPair{"REDIS", r.CertFile, r.KeyFile}
	_, err := pair.read(read)
	d.joined(err)
	r.TLSConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair.read(read) }
}
