package transform

import "slices"

var (
	path      = Field{Name: "path", Type: String, Required: true, Doc: "the file, relative to the pipeline's file; .gz is compressed"}
	delimiter = Field{Name: "delimiter", Type: Bytes, Default: ",", Doc: "what separates the columns"}
	schema    = Field{Name: "output_schema", Type: Schema, Doc: "the rows that come out; a property that is not required may be null"}
	language  = Field{Name: "language", Type: Language, Default: "generic", Doc: "generic (a field, a literal, one comparison) or python"}
	errors    = Field{Name: "error_handling", Type: Mapping, Doc: "where rows that fail go", NotYet: "dead letters come in a later version; a row that fails stops the stage"}
	deps      = Field{Name: "dependencies", Type: List, Doc: "Python packages", NotYet: "Python packages need the Python pool of a later version"}
	validated = Field{Name: "output_schema", Type: Schema, Doc: "the rows that may come out", NotYet: "rows are validated by a schema in a later version; the schema of what comes out is inferred"}
	channel   = Field{Name: "channel", Type: String, Required: true, Doc: "a channel of this pipeline, or pipeline/channel of a deployed one (read only)"}

	topic       = Field{Name: "topic", Type: String, Required: true, Doc: "the topic, which is there already"}
	servers     = Field{Name: "bootstrap_servers", Type: String, Required: true, Doc: "host:port, several with commas; or STACK/SERVICE, the Kafka of a running stack"}
	wire        = Field{Name: "format", Type: String, Default: "RAW", Doc: "JSON (with a schema), RAW or STRING ({payload})"}
	natsService = Field{Name: "service", Type: String, Doc: "a nats service of the stack; in weir run STACK/SERVICE of a running one"}
	natsURL     = Field{Name: "url", Type: String, Doc: "where a NATS is that is no service of the stack: nats://host:port or tls://host:port, without a password"}
	natsLogin   = Field{Name: "credentials", Type: String, Doc: "with url: a file of mode 0600, a .creds file or the lines `user: NAME` and `password: TEXT`"}
	natsStream  = Field{Name: "stream", Type: String, Required: true, Doc: "the name of the JetStream stream"}
	natsFormat  = Field{Name: "format", Type: String, Default: "json", Doc: "of a message: json (an object), csv (values in the order of the fields), raw (bytes) or text"}

	pace     = Field{Name: "pace", Type: Number, Doc: "rows a second and slot, 0 is as fast as it goes"}
	disorder = Field{Name: "disorder", Type: Duration, Doc: "how far behind the newest event time a row may be; without it a bounded source holds its watermark until its end"}
	idle     = Field{Name: "idle", Type: Duration, Doc: "how long a silent split holds the watermark back"}
	sorting  = Field{Name: "sort", Type: Names, Doc: "fields to sort by, a leading - is descending; bounded stages only"}
)

// until makes an endless source end.
var until = Field{Name: "until", Type: String, Doc: "end: stop where the topic ended when the run began"}

// sourceKeys are the weir: keys of every source.
var sourceKeys = []Field{pace, disorder, idle}

// declared is the one table, in alphabetical order.
var declared = []Decl{
	{Type: "AssertEqual", Inputs: 1, Outputs: 1, Portable: true, Sink: true, Doc: "fails the pipeline unless its input equals the elements in some order; nulls are dropped",
		Fields: []Field{{Name: "elements", Type: List, Required: true, Doc: "the rows that are expected"}}},
	{Type: "AssignTimestamps", Inputs: 1, Outputs: 1, Portable: true, Doc: "gives each row its event time",
		Fields: []Field{{Name: "timestamp", Type: Expression, Required: true, Doc: "seconds since 1970 (integer or number), or a timestamp"}, language, errors, validated}},
	{Type: "Combine", Inputs: 1, Outputs: 1, Portable: true, Doc: "aggregates by key and window; out come the keys, then the aggregates",
		Fields: []Field{
			{Name: "group_by", Type: Names, Required: true, Doc: "a field, a list of fields, or [] for all rows of the window"},
			{Name: "combine", Type: Mapping, Required: true, Doc: "name: function, or name: {value: expression, fn: function}; functions: " + FunctionList()},
			language, validated},
		Weir: []Field{
			{Name: "lateness", Type: Duration, Default: "0", Doc: "how long a window stays open behind the watermark"},
			{Name: "allowed_lateness", Type: Duration, Default: "0", Doc: "the same as lateness"}}},
	{Type: "Create", Outputs: 1, Portable: true, Doc: "rows from the document; a scalar becomes {element: scalar}", Weir: sourceKeys,
		Fields: []Field{{Name: "elements", Type: List, Required: true, Doc: "the rows"}, {Name: "reshuffle", Type: Boolean, Default: "true", Doc: "spreads the rows over workers; Weir reads them in one slot"}, schema}},
	{Type: "ExtractWindowingInfo", Inputs: 1, Outputs: 1, Portable: true, Doc: "adds the event time and the window as fields",
		Fields: []Field{{Name: "fields", Type: NameMap, Default: "[timestamp, window_start, window_end]", Doc: "a list, or new name: timestamp | window_start | window_end"}, validated}},
	{Type: "Filter", Inputs: 1, Outputs: 1, Portable: true, Doc: "keeps the rows for which an expression is true",
		Fields: []Field{{Name: "keep", Type: Expression, Required: true, Doc: "the condition"}, language, deps, errors, validated}},
	{Type: "Flatten", Inputs: Many, Outputs: 1, Portable: true, Doc: "several inputs as one", Fields: []Field{validated}},
	{Type: "GenerateSequence", Outputs: 1, Doc: "integers as {value}, from start to before end, for ever without an end", Weir: sourceKeys,
		Fields: []Field{{Name: "start", Type: Integer, Required: true, Doc: "the first number"},
			{Name: "end", Type: Integer, Doc: "the number after the last; without it the sequence has no end"},
			{Name: "rate", Type: Mapping, Doc: "{elements: 1000, seconds: 1}: how many numbers in how many seconds (1 where left out)"}}},
	{Type: "Join", Inputs: Many, Named: true, Outputs: 1, Portable: true, Doc: "looks rows of one input up in another, which is bounded and small, by equal fields",
		Fields: []Field{
			{Name: "equalities", Type: Equalities, Required: true, Doc: "a field that both inputs have, or a list of {input: field, input: field}"},
			{Name: "type", Type: JoinType, Default: "inner", Doc: "inner, or left, right or {outer: [input]}, which keep the rows of the streamed input that match nothing"},
			{Name: "fields", Type: Mapping, Default: "all fields of all inputs", Doc: "input: [fields], or input: {new name: field}; an input that is not named gives all of its fields"},
			validated},
		Weir: []Field{{Name: "side_input", Type: String, Doc: "the input that is read whole and looked up, where both come to an end"}}},
	{Type: "LogForTesting", Inputs: 1, Outputs: 1, Portable: true, Sink: true, Doc: "prints each row as a JSON object and passes it on",
		Fields: []Field{{Name: "level", Type: String, Default: "INFO", Doc: "ERROR, WARNING, INFO or DEBUG; Weir prints rows at every level"},
			{Name: "prefix", Type: String, Doc: "printed before each row"}, errors},
		Weir: []Field{sorting,
			{Name: "limit", Type: Integer, Doc: "at most so many rows, the first of the order"},
			{Name: "table", Type: Boolean, Doc: "print a table at the end instead of lines"},
			{Name: "title", Type: String, Doc: "the line above the table"}}},
	{Type: "MapToFields", Inputs: 1, Outputs: 1, Portable: true, Doc: "computes a row's fields",
		Fields: []Field{
			{Name: "fields", Type: Mapping, Required: true, Doc: "name: expression"},
			{Name: "append", Type: Boolean, Default: "false", Doc: "keep the input's fields before the new ones"},
			{Name: "drop", Type: Names, Doc: "with append: input fields to leave out"},
			language, deps, errors, validated}},
	{Type: "ReadFromChannel", Outputs: 1, Doc: "rows of a channel", Weir: sourceKeys,
		Fields: []Field{channel}},
	{Type: "ReadFromCsv", Outputs: 1, Portable: true, Doc: "rows of a CSV file with a header line", Weir: sourceKeys,
		Fields: []Field{path, delimiter, schema, errors,
			{Name: "comment", Type: Bytes, Doc: "the character that begins a comment", NotYet: "the reader takes every line as a row"},
			{Name: "filename_column", Type: String, Doc: "a column for the file's name", NotYet: "the reader does not add one"}}},
	{Type: "ReadFromJson", Outputs: 1, Portable: true, Doc: "rows of a file with one JSON object a line", Weir: sourceKeys,
		Fields: []Field{path, schema, errors}},
	{Type: "ReadFromKafka", Outputs: 1, Portable: true, Doc: "rows of a topic that others fill; a record's timestamp is the row's event time", Weir: append(slices.Clone(sourceKeys), until),
		Fields: []Field{topic, servers, wire,
			{Name: "schema", Type: Schema, Doc: "the rows of a JSON topic"},
			{Name: "auto_offset_reset_config", Type: String, Default: "latest", Doc: "earliest or latest: where a run begins to read"},
			{Name: "max_read_time_seconds", Type: Integer, Doc: "stop after so long"},
			{Name: "consumer_config", Type: Mapping, Doc: "properties of Java's consumer", NotYet: "Weir's client is not Java's; the Kafka of a stack is read with its own login if it is named as STACK/SERVICE"}, errors}},
	{Type: "ReadFromNats", Outputs: 1, Doc: "messages of a JetStream stream, from its first on; a message's time is when the server took it, or what WriteToNats kept of the row's", Weir: sourceKeys,
		Fields: []Field{natsService, natsURL, natsLogin, natsStream,
			{Name: "subject", Type: String, Doc: "only messages whose subject matches; * is one token, > the rest"}, natsFormat, schema, errors}},
	{Type: "ReadFromText", Outputs: 1, Portable: true, Doc: "each line as {line}", Weir: sourceKeys,
		Fields: []Field{path, errors}},
	{Type: "WindowInto", Inputs: 1, Outputs: 1, Portable: true, Doc: "assigns windows",
		Fields: []Field{{Name: "windowing", Type: Window, Required: true, Doc: "{type: global | fixed (size, offset) | sliding (size, period, offset) | sessions (gap)}"}, validated}},
	{Type: "WriteToChannel", Inputs: 1, Sink: true, Doc: "writes a channel of this pipeline", Fields: []Field{channel}},
	{Type: "WriteToCsv", Inputs: 1, Portable: true, Sink: true, Doc: "writes a CSV file with a header line", Weir: []Field{sorting},
		Fields: []Field{path, delimiter, errors}},
	{Type: "WriteToJson", Inputs: 1, Portable: true, Sink: true, Doc: "writes a file with one JSON object a line", Weir: []Field{sorting},
		Fields: []Field{path, errors}},
	{Type: "WriteToKafka", Inputs: 1, Portable: true, Sink: true, Doc: "writes a topic that is there already",
		Fields: []Field{topic, servers, wire,
			{Name: "producer_config_updates", Type: Mapping, Doc: "properties of Java's producer", NotYet: "Weir's client is not Java's; the Kafka of a stack is written with its own login if it is named as STACK/SERVICE"}, errors},
		Weir: []Field{{Name: "key", Type: Names, Doc: "fields of the record's key, which chooses the partition"}}},
	{Type: "WriteToNats", Inputs: 1, Sink: true, Doc: "publishes each row as a message of a JetStream stream",
		Fields: []Field{natsService, natsURL, natsLogin, natsStream,
			{Name: "subject", Type: String, Required: true, Doc: "of the messages, one that the stream takes"}, natsFormat, errors}},
	{Type: "WriteToText", Inputs: 1, Portable: true, Sink: true, Doc: "writes the only field of each row as a line", Weir: []Field{sorting},
		Fields: []Field{path, errors}},
}
