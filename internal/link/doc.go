// Package link is the one stream that agents, workers and the command line hold to the server: frames of JSON, both ways at
// once, over one HTTP/2 request on mutual TLS.
//
//	// server
//	mux.HandleFunc("POST /v1/agents", func(w http.ResponseWriter, r *http.Request) {
//		conn, err := link.Accept(w, r, link.Options{})
//		if err != nil { return }        // Accept has answered
//		defer conn.Close()              // before the handler returns
//		serve(r.Context(), conn, conn.Peer())
//	})
//
//	// client
//	conn, err := link.Dial(ctx, "https://127.0.0.1:7070/v1/agents", config, nil, link.Options{})
//	err = conn.SendBody(ctx, "register", 1, register)
//	var f link.Frame
//	err = conn.Recv(ctx, &f)
//
// On the wire a frame is its length (4 bytes, big-endian) and that many bytes of {"type", "version", "body"}. A length beyond
// the limit is refused before anything is read or parsed. Types that begin with "_" are the link's own: "_ping" and "_bye".
//
// It never reconnects by itself (Loop does), never re-sends a frame (a frame that was sent may not have arrived; the layer
// above repeats its reports), never buffers without bound, never speaks without TLS, and gives no meaning to a frame.
// Do not use it for user data: that goes through Kafka.
package link
