// Package evaluate answers one question: can this pod be launched from this offer? The answer is the operations of one accept and
// where the pod will be, or a tree of reasons with the numbers compared.
//
// A stateful pod's first launch reserves its resources and makes its volume in the same accept; a later launch takes the same
// reservation, so that directory, address and ports are the same (C4), whichever agent holds them. A pod without state takes what is
// unreserved. The package never accepts, never waits and never remembers: what is left of the offer comes back with the answer.
//
//	out := evaluate.Offer(offer, evaluate.Request{Pod: pod, At: observed.Reserved[pod.Name()]})
//	if !out.Fits {
//		return out.Reasons // needs mem 40000 MiB, agent a1 offers 23012 MiB
//	}
//	task, files, err := kafka.Command(launch, out.Placement, env)
//	call.Operations = out.Launch(info)
package evaluate
