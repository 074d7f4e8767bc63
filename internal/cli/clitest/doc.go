// Package clitest drives the real weir and weir-shim as a person does: each script in testdata is a short story of commands, what they
// print on which stream, and how they exit. Scripts in testdata/alone need no server; those in testdata/server bring up stacks of stream
// workers, which take seconds, since no JVM starts. It tests nothing from inside: no Weir package is linked.
//
// A script speaks the language of testscript and a few words more:
//
//	exits 3 weir validate bad.yaml         # runs a command and compares its exit code; stdout and stderr stand for the next lines
//	await 'ready +2/2' weir get services   # runs it again until its output matches, for at most 20 s
//	interrupt 'rows in' weir run slow.yaml # Ctrl-C once it has said so; exit code 130
//	kill9 server supervisor                # SIGKILL, and waits for the end
//	pid NAME server                        # the number of its process is then in $NAME
//	occupy PORT                            # listens on a free port, whose number is then in $PORT
//	quiet                                  # no process of this script's stack is left, and nothing listens on the server's port
package clitest
