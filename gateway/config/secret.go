package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"

	"github.com/tidehold/tidehold/gateway/config/tree"
	"github.com/tidehold/tidehold/gateway/config/value"
)

// secret reads SECRET. Where a path is expected, plain text is one.
func (l *loader) secret(m *tree.Map, key, def string, place value.Place) value.Secret {
	place.Folder = l.folder
	if l.opt.Environ != nil {
		place.Env = l.getenv
	}
	form := "secret (file:, env:, cred:)"
	if place.Path {
		form = "path, or secret (file:, env:, cred:)"
	}
	s := tree.Get(m, key, form, def, func(text string) (value.Secret, error) { return value.ParseSecret(text, place) })
	if s.Source() == value.Plain && !place.Public {
		m.Warn(key, "a secret stands in the file as plain text", "write file:PATH, env:NAME or cred:NAME")
	}
	return s
}

// probe warns of a secret that cannot be had on this host: the one that runs the
// gateway may be another, and a link without its key is no reason not to start.
// A credential is systemd's, and there only while the service runs.
func (l *loader) probe(m *tree.Map, key string, s value.Secret) {
	if !m.Has(key) || s.Source() == value.None || s.Source() == value.Plain || s.Source() == value.Credential && s.Path() == "" {
		return
	}
	_, err := s.Resolve()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		m.Warn(key, fmt.Sprintf("file %s does not exist on this host", s.Path()), "")
	case err != nil:
		m.Warn(key, err.Error(), "")
	}
}

// probePair probes certificate and key, and whether they belong together.
func (l *loader) probePair(m *tree.Map, cert, key value.Secret) {
	l.probe(m, "cert", cert)
	l.probe(m, "key", key)
	c, errCert := cert.Resolve()
	k, errKey := key.Resolve()
	if errCert != nil || errKey != nil {
		return
	}
	if _, err := tls.X509KeyPair(c, k); err != nil {
		m.Warn("cert", "cert and key are no pair: "+err.Error(), "")
	}
}
