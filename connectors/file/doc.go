// Package file reads and writes files of rows: CSV with a header, JSON lines, text lines; plain, or gzip where the content says so (reading) or the
// name ends in .gz (writing).
//
//	src, err := file.Open(cfg, root)                        // cfg.Config: {"path": "/data/flights-*.csv.gz", "delimiter": ","}
//	sink, err := file.NewSink(cfg, schema, root, []string{"origin", "-day"}, "flights/daily/f0/0")
//
// One file is one split; a position counts the rows of data before it. The sink gathers all rows of a bounded input, at most MaxRows of them, writes
// one temporary file when the input ends, and gives it its name after the commit (docs/formats/file-outbox.md): a reader of the path sees the old
// file or the whole new one, never a part.
//
// Everything happens inside the granted directory (os.Root, C11): a path or a symbolic link that leads out of it is refused. It never deletes what
// it did not write.
package file
