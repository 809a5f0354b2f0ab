package wire

import "crypto/tls"

// ServerTLS is how clients are served over TLS, with the certificate that there is when one connects. HTTP/2 is not offered: see
// gateway/README.md.
func ServerTLS(certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		// For TLS 1.2: forward secrecy and authenticated encryption, as in RFC 9325 §4.2. Those of TLS 1.3 all have both.
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
			tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		NextProtos:     []string{"http/1.1"},
		GetCertificate: certificate,
		// A small answer is one record and one write; with small records a large one would be a dozen of each.
		DynamicRecordSizingDisabled: true,
	}
}
