// Package flightstruth computes what the demo pipeline must come to, in the plainest way there is: read the file, add up in maps.
//
// It exists to disagree. So it imports nothing of Weir, knows no window, watermark, slot or batch, and shares no line with the
// engine that it judges. It is test code in a package, so that the integration test, a benchmark and a person with `go test` get
// the same numbers.
//
//	f, err := os.Open("stacks/catalog/flights/data/flights-2001-01.csv.gz")
//	truth, err := flightstruth.Compute(f)
//	truth.Hourly[flightstruth.OriginHour{Origin: "ATL", Hour: 978307200}] // flights, sum and maximum of the delay from midnight on
//	truth.Worst(10)                                                       // the airports with the worst mean delay
package flightstruth
