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
	cqlVersion       = 4
	opError          = 0x00
	opStartup        = 0x01
	opReady          = 0x02
	opAuthenticate   = 0x03
	opAuthResponse   = 0x0F
	opAuthSuccess    = 0x10
	badCredentials   = 0x0100
	maxHandshakeBody = 1 << 16
)

// login does the handshake of the native protocol and nothing more. A driver tells a refusal from a network failure by text, and retries; here
// "refused" must be certain, since it is the proof that the default account is off.
func login(ctx context.Context, address string, config *tls.Config, user, password string) error {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 2 * time.Second}, Config: config}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline := time.Now().Add(5 * time.Second)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return fmt.Errorf("set the deadline of the handshake: %w", err)
	}
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
	if n > maxHandshakeBody {
		return 0, nil, fmt.Errorf("read the answer to frame %#x: it has %d bytes, at most %d are expected", op, n, maxHandshakeBody)
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
