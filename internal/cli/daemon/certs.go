package daemon

import (
	"fmt"
	"sync"
	"time"

	"github.com/weir-project/weir/internal/security"
)

// clientCertificates keeps the certificates with which this server and its workers prove themselves to the services, so that not every probe
// issues one. mu guards the map.
type clientCertificates struct {
	mu     sync.Mutex
	issued map[string]security.Bundle
}

// clientLife is how long such a certificate lives; a new one is issued at half of it.
const clientLife = 90 * 24 * time.Hour

// clientCertificate is a client's certificate for the stack's services.
func (d *Daemon) clientCertificate(name string) (security.Bundle, error) {
	d.certs.mu.Lock()
	defer d.certs.mu.Unlock()
	if b, ok := d.certs.issued[name]; ok {
		if end, err := b.NotAfter(); err == nil && time.Until(end) > clientLife/2 {
			return b, nil
		}
	}
	now := time.Now()
	b, err := d.ca.Issue(security.Request{CN: name, Role: security.RoleCassandra, NotBefore: now, NotAfter: now.Add(clientLife), ClientAuth: true})
	if err != nil {
		return b, fmt.Errorf("issue the certificate of %s: %w", name, err)
	}
	if d.certs.issued == nil {
		d.certs.issued = map[string]security.Bundle{}
	}
	d.certs.issued[name] = b
	return b, nil
}
