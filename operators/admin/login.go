package admin

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// errRefused is the node's answer to a wrong name or password, or to a role that may not log in.
var errRefused = errors.New("the login was refused")

// The parts of the native protocol (version 4) that a login needs.
const (
	cqlVersion     = 4
	opError        = 0x00
	opStartup      = 0x01
	opReady        = 0x02
	opAuthenticate = 0x03
	opAuthResponse = 0x0F
	opAuthSuccess  = 0x10
	badCredentials = 0x0100
	opQuery        = 0x07
	opResult       = 0x08
	resultRows     = 2
	one            = 0x0001   // consistency
	skipMetadata   = 0x02     // the columns of our queries are known
	maxBody        = 16 << 20 // the protocol's own limit is 256 MiB
)

// login proves that a role can log in.
func login(ctx context.Context, address string, config *tls.Config, user, password string) error {
	conn, err := connect(ctx, address, config, user, password)
	if err != nil {
		return err
	}
	return conn.Close()
}

// connect does the handshake of the native protocol. A driver tells a refusal from a network failure by text, and retries; here "refused" must
// be certain, since it is the proof that the default account is off. A driver's session also logs in several times, each of which costs
// the node a bcrypt, and polls for agreement after every statement: with it a new node took a second longer to be ready.
func connect(ctx context.Context, address string, config *tls.Config, user, password string) (net.Conn, error) {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 2 * time.Second}, Config: config}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(time.Minute)
	}
	err = conn.SetDeadline(deadline)
	if err == nil {
		err = authenticate(conn, user, password)
	}
	if err != nil {
		conn.Close() // the cause is told; that a broken connection cannot be closed tells nothing more
		return nil, err
	}
	return bound{conn, context.AfterFunc(ctx, func() { conn.Close() })}, nil
}

// bound is a connection that ends with its context.
type bound struct {
	net.Conn
	stop func() bool
}

func (b bound) Close() error {
	b.stop()
	return b.Conn.Close()
}

func authenticate(conn io.ReadWriter, user, password string) error {
	op, body, err := exchange(conn, opStartup, stringMap("CQL_VERSION", "3.0.0"))
	if err != nil {
		return err
	}
	if op != opAuthenticate {
		return fmt.Errorf("the node asks for no password (answer %#x to STARTUP)", op)
	}
	token := []byte("\x00" + user + "\x00" + password)
	body = binary.BigEndian.AppendUint32(nil, uint32(len(token)))
	op, body, err = exchange(conn, opAuthResponse, append(body, token...))
	switch {
	case err != nil:
		return err
	case op == opAuthSuccess || op == opReady:
		return nil
	case op == opError && len(body) >= 4 && binary.BigEndian.Uint32(body) == badCredentials:
		return errRefused
	case op == opError && len(body) >= 6:
		return fmt.Errorf("the node answers error %#x: %.200s", binary.BigEndian.Uint32(body), body[6:])
	}
	return fmt.Errorf("unexpected answer %#x to the login", op)
}

// exchange sends one frame and reads one.
func exchange(conn io.ReadWriter, op byte, body []byte) (byte, []byte, error) {
	frame := []byte{cqlVersion, 0, 0, 0, op}
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(body)))
	if _, err := conn.Write(append(frame, body...)); err != nil {
		return 0, nil, fmt.Errorf("send frame %#x: %w", op, err)
	}
	var head [9]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return 0, nil, fmt.Errorf("read the answer to frame %#x: %w", op, err)
	}
	n := binary.BigEndian.Uint32(head[5:])
	if n > maxBody {
		return 0, nil, fmt.Errorf("read the answer to frame %#x: it has %d bytes, at most %d are expected", op, n, maxBody)
	}
	out := make([]byte, n)
	if _, err := io.ReadFull(conn, out); err != nil {
		return 0, nil, fmt.Errorf("read the answer to frame %#x: %w", op, err)
	}
	return head[4], out, nil
}

func stringMap(pairs ...string) []byte {
	var b bytes.Buffer
	put := func(n int) { b.Write(binary.BigEndian.AppendUint16(nil, uint16(n))) }
	put(len(pairs) / 2)
	for _, s := range pairs {
		put(len(s))
		b.WriteString(s)
	}
	return b.Bytes()
}

// query reads all rows of a statement whose columns the caller knows.
func query(conn io.ReadWriter, statement string) ([][][]byte, error) {
	body, err := ask(conn, statement)
	if err != nil {
		return nil, err
	}
	return rows(body)
}

// execute carries a statement out that has no rows.
func execute(conn io.ReadWriter, statement string) error {
	_, err := ask(conn, statement)
	return err
}

// ask returns the body of a statement's result.
func ask(conn io.ReadWriter, statement string) ([]byte, error) {
	body := binary.BigEndian.AppendUint32(nil, uint32(len(statement)))
	body = append(body, statement...)
	body = append(binary.BigEndian.AppendUint16(body, one), 0)
	op, body, err := exchange(conn, opQuery, body)
	switch {
	case err != nil:
		return nil, err
	case op == opError && len(body) >= 6:
		return nil, fmt.Errorf("the node answers error %#x: %.200s", binary.BigEndian.Uint32(body), body[6:])
	case op != opResult:
		return nil, fmt.Errorf("unexpected answer %#x to a query", op)
	}
	return body, nil
}
