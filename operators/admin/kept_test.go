package admin

import (
	"crypto/tls"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gocql/gocql"
)

func TestASessionIsKeptForItsIdentityAloneAndClosedWhenNobodyTakesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k idleSessions
		certificate := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{[]byte("mine")}}}}
		mine := Cassandra{Address: "127.0.0.1:1", TLS: certificate, User: "weir", Password: "p"}
		s, twin := session{&gocql.Session{}, func() {}}, session{&gocql.Session{}, func() {}}
		k.put(mine.identity(), s)
		k.put(mine.identity(), twin)
		synctest.Wait()
		if !twin.Closed() {
			t.Error("a second session of the same identity stays open")
		}
		stranger, moved := mine, mine
		stranger.TLS, moved.Address = &tls.Config{}, "127.0.0.1:2"
		for what, c := range map[string]Cassandra{"another password": mine.as("weir", "q"), "another role": mine.as("x", "p"), "no certificate": stranger, "another node": moved} {
			if _, ok := k.take(c.identity()); ok {
				t.Errorf("%s is given our session", what)
			}
		}
		time.Sleep(keptFor - time.Second)
		if got, ok := k.take(mine.identity()); !ok || got.Session != s.Session || s.Closed() {
			t.Fatal("the session is not there")
		}
		if _, ok := k.take(mine.identity()); ok {
			t.Error("one session is given twice")
		}
		time.Sleep(2 * keptFor)
		if s.Closed() {
			t.Error("a session is closed while it is in use")
		}
		k.put(mine.identity(), s)
		time.Sleep(keptFor + time.Second)
		synctest.Wait()
		if _, ok := k.take(mine.identity()); ok || !s.Closed() {
			t.Error("a session that nobody takes stays open")
		}
	})
}
