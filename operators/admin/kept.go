package admin

import (
	"context"
	"sync"
	"time"
)

// keptFor is above the reconciler's pause of 2 s between two looks.
const keptFor = 10 * time.Second

// kept are the sessions of our role between two calls. A session logs in twice, each login costs the node a bcrypt (100 ms of its CPU), and a
// service is looked at every 0.2 to 2 s. It belongs to the package, as net/http's idle connections do: values of Cassandra come and go with
// each call.
var kept idleSessions

// idleSessions closes what nobody takes for keptFor.
type idleSessions struct {
	mu sync.Mutex // guards of
	of map[identity]idle
}

type idle struct {
	session
	end *time.Timer
}

// identity is what a session has proven. Nobody is given one that was opened with another password or certificate.
type identity struct{ address, user, password, certificate string }

func (c Cassandra) identity() identity {
	id := identity{address: c.Address, user: c.User, password: c.Password}
	if c.TLS != nil && len(c.TLS.Certificates) > 0 && len(c.TLS.Certificates[0].Certificate) > 0 {
		id.certificate = string(c.TLS.Certificates[0].Certificate[0])
	}
	return id
}

// borrow gives a session that the node has just answered, a kept one or a new one, and what to call when done with it.
func (c Cassandra) borrow(ctx context.Context) (session, func(), error) {
	id := c.identity()
	s, ok := kept.take(id)
	if ok && s.Query("SELECT key FROM system.local").WithContext(ctx).Exec() != nil {
		go s.Close() // its node has ended; the driver's Close can wait for an answer, at most for answerTimeout
		ok = false
	}
	if !ok {
		var err error
		if s, err = c.open(ctx); err != nil {
			return session{}, nil, err
		}
	}
	return s, func() { kept.put(id, s) }, nil
}

func (k *idleSessions) take(id identity) (session, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	i, ok := k.of[id]
	if !ok || !i.end.Stop() { // one whose time is up is closed by its timer
		return session{}, false
	}
	delete(k.of, id)
	return i.session, true
}

func (k *idleSessions) put(id identity, s session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.of[id]; ok { // of a call beside ours
		go s.Close()
		return
	}
	if k.of == nil {
		k.of = map[identity]idle{}
	}
	k.of[id] = idle{s, time.AfterFunc(keptFor, func() { k.end(id, s) })}
}

func (k *idleSessions) end(id identity, s session) {
	k.mu.Lock()
	delete(k.of, id)
	k.mu.Unlock()
	s.Close()
}
