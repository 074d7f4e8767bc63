// Package codec turns rows into bytes and back: the JSON rows of channels (docs/formats/channel.md), their keys and partitions, and CSV.
//
//	d := codec.NewJSONDecoder(schema)
//	err := d.DecodeAt(batch, fetched, span)        // one row more; strings without escapes are not copied
//	value = codec.NewJSONEncoder(schema).AppendRow(value[:0], batch, row)
//	key = codec.AppendKey(key[:0], batch, row, cols)
//	partition := codec.Partition(key, 12)
//
// Decoders append exactly one row or, with an error that names the field, leave the batch as it was. They do not set event times: the caller
// does (AppendTime). A decoder holds scratch memory and is used by one goroutine; encoders may be shared.
//
// It reads no file and no clock. Row formats that need a schema registry (Avro, Protobuf) do not belong here.
package codec
