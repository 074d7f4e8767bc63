// Package security makes and checks who is who: a certificate authority for the parts of one Weir, mutual TLS between them,
// secrets sealed at rest, and the state directory that only its owner can write.
//
//	root, err := security.OpenStateDir(path)                      // 0700, refused when others can write it
//	ca, err := security.EnsureCA(root, "weir", now, rand.Reader)  // made on the first run
//	agent, err := ca.Issue(security.Request{CN: "agent-1", Role: security.RoleAgent, IPs: loopback,
//		NotBefore: now, NotAfter: now.Add(24 * time.Hour), ClientAuth: true})
//	config, err := security.ClientTLS(agent, "weir")
//
// It never offers an unauthenticated or a pre-1.3 configuration, never follows a path out of the state directory (files only
// through os.Root), never reads the clock (times are arguments) and never logs. It decides no permission: it says who the
// peer is, and the caller compares name and role exactly.
package security
